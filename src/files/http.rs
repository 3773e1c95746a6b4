//! The HTTP client of the program.

use std::time::Duration;

/// Longest time for a connection.
const CONNECT: Duration = Duration::from_secs(15);
/// Longest time without a byte of the answer.
const SILENCE: Duration = Duration::from_secs(60);

/// A blocking client that names this program, takes proxies from the environment (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`), and returns answers of every
/// status. `whole` limits a call from the first byte sent to the last one received.
pub fn http_client(whole: Option<Duration>) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .user_agent(concat!("eclipse-t2i/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .redirect_auth_headers(ureq::config::RedirectAuthHeaders::SameHost)
        .timeout_global(whole)
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE));
    config.build().new_agent()
}
