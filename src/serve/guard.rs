//! Who may ask: the checks of `Host`, of the request's origin and of the token, and the headers of every answer.
//!
//! A page of another site can make a browser send requests to this machine, and with DNS rebinding it can read the answers under its own name. So the
//! host must be an address or `localhost`, a request that changes something must come from the playground's own page, and other sites may only link
//! to the page.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, LOCATION, ORIGIN, REFERRER_POLICY,
    SET_COOKIE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use axum::middleware::Next;
use subtle::ConstantTimeEq;

use super::pages;

/// The content security policy: everything comes from the program itself, nothing is inline, and no page may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// Time in which a request is read and its answer begins.
const ANSWER: Duration = Duration::from_secs(20);
/// The cookie that holds the token, before the port.
const TOKEN: &str = "eclipse_token";

/// Who may ask.
#[derive(Debug, Clone)]
pub struct Guard {
    /// Whether only this machine's own names are accepted as the host.
    pub is_loopback: bool,
    /// What a request must know; `None` asks for nothing.
    pub token: Option<String>,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Host,
    Origin,
    Token,
}

impl Refusal {
    fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Self::Host => (
                StatusCode::MISDIRECTED_REQUEST,
                "The Host of this request is not this playground: open it by its address, or as localhost.",
            ),
            Self::Origin => (
                StatusCode::FORBIDDEN,
                "This request comes from another site. The playground answers its own page only.",
            ),
            Self::Token => (
                StatusCode::UNAUTHORIZED,
                "This playground needs its token: open the URL that `eclipse serve` printed when it started.",
            ),
        }
    }
}

/// A new token or name of a job: 128 bits of the system's randomness as 32 hexadecimal digits.
///
/// # Errors
/// The system has no randomness.
pub fn random_name() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Guard {
    fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(&HOST).filter(|_| headers.get_all(HOST).iter().count() == 1);
        let host = host.filter(|host| self.is_host(host)).ok_or(Refusal::Host)?;
        let is_safe = matches!(*method, Method::GET | Method::HEAD);
        if let Some(origin) = headers.get(ORIGIN)
            && origin.as_bytes() != format!("http://{host}").as_bytes()
        {
            return Err(Refusal::Origin);
        }
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        let mode = headers.get("sec-fetch-mode").map(HeaderValue::as_bytes);
        match site {
            None | Some(b"same-origin") => {}
            // Typed, bookmarked, or a link from elsewhere.
            Some(b"none") if is_safe => {}
            Some(_) if is_safe && mode == Some(b"navigate") => {}
            Some(_) => return Err(Refusal::Origin),
        }
        match &self.token {
            None => Ok(()),
            Some(token) => match given_tokens(headers).any(|given| is_equal(given, token)) {
                true => Ok(()),
                false => Err(Refusal::Token),
            },
        }
    }

    /// Whether a host names this machine: names that DNS resolves do not count, because others control them.
    fn is_host(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map(|(name, _)| name),
            None => host.split(':').next(),
        };
        let Some(name) = name else { return false };
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        name.parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback() || !self.is_loopback)
    }

    /// Where a request with `?token=` is sent on to, and the cookie that it gets; `None` for a request without one or with a wrong one.
    fn admission(&self, uri: &Uri, headers: &HeaderMap) -> Option<(String, String)> {
        let token = self.token.as_ref()?;
        let query = uri.query()?;
        let (given, rest): (Vec<&str>, Vec<&str>) =
            query.split('&').partition(|pair| pair.starts_with("token="));
        let is_right = given.iter().any(|pair| is_equal(&pair["token=".len()..], token));
        let target = match rest.is_empty() {
            true => "/".to_owned(),
            false => format!("/?{}", rest.join("&")),
        };
        let name = cookie_name(headers);
        let cookie = format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax");
        (is_right && uri.path() == "/").then_some((target, cookie))
    }
}

/// The name of this playground's cookie. Browsers send a cookie to every port of a host: the port in its name keeps two playgrounds apart.
fn cookie_name(headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|value| value.to_str().ok());
    let port = host.and_then(|host| host.rsplit_once(':')).map(|(_, port)| port);
    match port.filter(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())) {
        Some(port) => format!("{TOKEN}_{port}"),
        None => TOKEN.to_owned(),
    }
}

/// The tokens in cookies and in `Authorization: Bearer`.
fn given_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let name = cookie_name(headers);
    let cookies = headers
        .get_all(COOKIE)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let cookies = cookies.flat_map(|cookies| cookies.split(';'));
    let cookies =
        cookies.filter_map(move |cookie| cookie.trim().strip_prefix(name.as_str())?.strip_prefix('='));
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    cookies.chain(bearer.and_then(|value| value.strip_prefix("Bearer ")))
}

/// Compares without telling by its time where the two differ.
fn is_equal(given: &str, token: &str) -> bool {
    given.as_bytes().ct_eq(token.as_bytes()).into()
}

/// The middleware: checks a request, and adds the headers to its answer.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response<Body> {
    let checked = guard.check(request.method(), request.headers());
    let admission = guard.admission(request.uri(), request.headers());
    let mut response = match (checked, admission) {
        // The token leaves the address bar, and with it the browser's history.
        (Ok(()) | Err(Refusal::Token), Some((target, cookie))) => redirect(&target, &cookie),
        // Events are sent after their answer has begun, so that this is the time to read a form and to look things up.
        (Ok(()), None) => match tokio::time::timeout(ANSWER, next.run(request)).await {
            Ok(response) => response,
            Err(_) => pages::refusal(StatusCode::REQUEST_TIMEOUT, "The request did not arrive in time."),
        },
        (Err(refusal), _) => {
            let (status, reason) = refusal.answer();
            pages::refusal(status, reason)
        }
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

fn redirect(target: &str, cookie: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    for (name, value) in [(LOCATION, target), (SET_COOKIE, cookie)] {
        // A URI and a token of hexadecimal digits are valid headers.
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(guard: &Guard, method: Method, headers: &[(&'static str, &str)]) -> Result<(), Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header"));
        }
        guard.check(&method, &map)
    }

    #[test]
    fn hosts_origins_and_tokens() {
        let local = Guard {
            is_loopback: true,
            token: None,
        };
        let open = Guard {
            is_loopback: false,
            token: Some("0123".into()),
        };
        let get = |headers: &[(&'static str, &str)]| checked(&local, Method::GET, headers);
        let post = |headers: &[(&'static str, &str)]| checked(&local, Method::POST, headers);
        for host in [
            "127.0.0.1:8321",
            "localhost:8321",
            "LOCALHOST",
            "[::1]:8321",
            "127.0.0.1",
        ] {
            assert_eq!(get(&[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example:8321",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "192.168.0.7:8321",
            "[::1",
            "",
            "127.0.0.1@evil.example",
        ] {
            assert_eq!(get(&[("host", host)]), Err(Refusal::Host), "{host}");
        }
        assert_eq!(get(&[]), Err(Refusal::Host));
        assert_eq!(
            get(&[("host", "localhost"), ("host", "localhost")]),
            Err(Refusal::Host)
        );

        let host = ("host", "127.0.0.1:8321");
        let own = ("origin", "http://127.0.0.1:8321");
        assert_eq!(post(&[host, own, ("sec-fetch-site", "same-origin")]), Ok(()));
        assert_eq!(post(&[host]), Ok(()), "a program, which has no origin");
        for origin in [
            "null",
            "http://evil.example",
            "http://127.0.0.1:9999",
            "https://127.0.0.1:8321",
        ] {
            assert_eq!(
                post(&[host, ("origin", origin)]),
                Err(Refusal::Origin),
                "{origin}"
            );
        }
        for site in ["cross-site", "same-site", "none"] {
            assert_eq!(
                post(&[host, ("sec-fetch-site", site)]),
                Err(Refusal::Origin),
                "{site}"
            );
        }
        // A link on another page may open the page, an image element there may not load anything.
        let cross = ("sec-fetch-site", "cross-site");
        assert_eq!(get(&[host, cross, ("sec-fetch-mode", "navigate")]), Ok(()));
        assert_eq!(
            get(&[host, cross, ("sec-fetch-mode", "no-cors")]),
            Err(Refusal::Origin)
        );
        assert_eq!(
            post(&[host, cross, ("sec-fetch-mode", "navigate")]),
            Err(Refusal::Origin)
        );

        let ask = |more: &[(&'static str, &str)]| {
            checked(
                &open,
                Method::GET,
                &[&[("host", "192.168.0.7:8321")], more].concat(),
            )
        };
        assert_eq!(ask(&[]), Err(Refusal::Token));
        for wrong in [
            "eclipse_token_8321=",
            "eclipse_token_8321=0124",
            "eclipse_token_8321=01234",
            "eclipse_token_8322=0123",
            "eclipse_token=0123",
            "token=0123",
        ] {
            assert_eq!(ask(&[("cookie", wrong)]), Err(Refusal::Token), "{wrong}");
        }
        assert_eq!(
            ask(&[("cookie", "a=b; eclipse_token_8322=0; eclipse_token_8321=0123")]),
            Ok(())
        );
        assert_eq!(ask(&[("authorization", "Bearer 0123")]), Ok(()));
    }

    #[test]
    fn the_token_leaves_the_url() {
        let guard = Guard {
            is_loopback: false,
            token: Some("0123".into()),
        };
        let admission = |uri: &'static str| {
            let admitted = guard.admission(&Uri::from_static(uri), &HeaderMap::new());
            admitted.map(|(to, _)| to)
        };
        assert_eq!(admission("/?token=0123"), Some("/".into()));
        assert_eq!(
            admission("/?prompt=a%20b&token=0123&seed=1"),
            Some("/?prompt=a%20b&seed=1".into())
        );
        assert_eq!(admission("/?token=0124"), None);
        assert_eq!(admission("/gallery?token=0123"), None);
        let (a, b) = (random_name().expect("random"), random_name().expect("random"));
        assert!(a != b && a.len() == 32, "{a} {b}");
    }
}
