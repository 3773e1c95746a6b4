//! Connections: how many at a time, and how long a client may take to say what it wants.
//!
//! The loop of axum has no such limits: a client that opens connections and sends nothing, or a byte a minute, would hold them for ever, and the
//! program has only so many file descriptors.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Limits of a server.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectionLimits {
    /// Connections at a time; others wait until one ends.
    pub(super) connections: usize,
    /// Time in which a client sends the head of a request, from the opening of the connection or the end of the answer before.
    pub(super) head: Duration,
    /// Bytes of the head of a request.
    pub(super) head_bytes: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: 256,
            head: Duration::from_secs(15),
            head_bytes: 32 << 10,
        }
    }
}

/// The address that a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client(pub(super) IpAddr);

/// Pause after a failure to accept: usually there are no file descriptors left.
const PAUSE: Duration = Duration::from_millis(200);

/// Answers the connections of `listener` by `routes` until `stop` changes, and then until every begun answer has ended.
pub(super) async fn serve(
    listener: TcpListener,
    routes: Router,
    limits: ConnectionLimits,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        // A closed semaphore is impossible: nothing closes it.
        let Ok(place) = places.clone().acquire_owned().await else {
            break;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, from)) => {
                let (routes, stop) = (routes.clone(), stop.clone());
                connections.spawn(async move {
                    // The client's failures end its connection and concern nobody else.
                    let _ = connection(stream, from, routes, limits, stop).await;
                    drop(place);
                });
            }
            Err(error) if is_of_client(&error) => {}
            Err(error) => {
                tracing::warn!("cannot accept a connection: {}", error.kind());
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    from: SocketAddr,
    routes: Router,
    limits: ConnectionLimits,
    mut stop: watch::Receiver<bool>,
) -> Result<(), hyper::Error> {
    let mut http = Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(limits.head_bytes);
    let routes = TowerToHyperService::new(routes);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Client(from.ip().to_canonical()));
        let answer = hyper::service::Service::call(&routes, request);
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection.as_mut() => return ended,
        _ = stop.changed() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// Whether the client closed a connection before it was accepted.
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    [ConnectionAborted, ConnectionRefused, ConnectionReset].contains(&error.kind())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Instant;

    use axum::routing::get;

    use super::*;

    /// A server with small limits, its address and what stops it.
    fn started() -> (SocketAddr, watch::Sender<bool>, std::thread::JoinHandle<()>) {
        let limits = ConnectionLimits {
            connections: 3,
            head: Duration::from_millis(300),
            head_bytes: 16 << 10,
        };
        let (stop, stopped) = watch::channel(false);
        let (tell, told) = std::sync::mpsc::channel();
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
                tell.send(listener.local_addr().expect("an address"))
                    .expect("heard");
                serve(
                    listener,
                    Router::new().route("/", get(async || "here")),
                    limits,
                    stopped,
                )
                .await;
            });
        });
        (told.recv().expect("it listens"), stop, server)
    }

    fn connect(at: SocketAddr, sent: &str) -> TcpStream {
        let mut stream = TcpStream::connect(at).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("set");
        // Too long a head is refused before all of it was read.
        let _ = stream.write_all(sent.as_bytes());
        stream
    }

    fn answer(mut stream: TcpStream) -> String {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    const REQUEST: &str = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

    #[test]
    fn slow_and_idle_clients_lose_their_connections_and_others_are_answered() {
        let (at, stop, server) = started();
        let begun = Instant::now();
        // Three that say nothing, half a head, and one answer with a connection that stays open: all places are taken.
        let silent = connect(at, "");
        let half = connect(at, "GET / HTTP/1.1\r\nhost: loc");
        let idle = connect(at, "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let waiting = connect(at, REQUEST);
        assert!(answer(waiting).ends_with("here"), "it gets a place");
        assert!(
            begun.elapsed() >= Duration::from_millis(200),
            "it had to wait for one"
        );
        assert_eq!(answer(silent), "");
        assert!(!answer(half).contains("200 OK"));
        assert!(answer(idle).ends_with("here"));
        assert!(begun.elapsed() < Duration::from_secs(10));

        let long = format!(
            "GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
            "x".repeat(100_000)
        );
        let refused = answer(connect(at, &long));
        assert!(!refused.contains("200 OK"), "{refused:.200}");
        assert!(
            answer(connect(at, REQUEST)).ends_with("here"),
            "the others do not notice"
        );
        stop.send(true).expect("it runs");
        server.join().expect("it ends");
    }
}
