//! The HTTP client: blocking, with timeouts, and with the proxy that the environment names.

use std::time::Duration;

/// A client whose calls end within `timeout`. Answers of every status are answers, not errors.
pub fn client(timeout: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .user_agent(concat!("eclipse-t2i/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}
