//! The server: one thread that answers, one that draws.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use super::catalogue::Catalogue;
use super::connections::{self, ConnectionLimits};
use super::gallery::Gallery;
use super::guard::{Guard, random_name};
use super::painter::Painter;
use super::queue::Queue;
use super::router::{App, router};
use crate::files::FileError;

/// Requests that can wait.
const CAPACITY: usize = 16;
/// Items of the gallery, and bytes of all of them.
const MAX_ITEMS: usize = 500;
const MAX_BYTES: u64 = 2 << 30;
/// Time that open connections, and the step that is being computed, have after a request to stop.
const GRACE: Duration = Duration::from_secs(3);
/// Stack of the drawing thread: that of a main thread.
const STACK: usize = 8 << 20;

/// Why the playground cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or not this machine's.
    #[error("cannot listen at {at}: {}; another --port, or --port 0 for any that is free, may help", .source.kind())]
    Bind {
        /// The address.
        at: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// The gallery cannot be opened.
    #[error(transparent)]
    Gallery(#[from] FileError),
    /// The system gives no randomness for the token.
    #[error("cannot make a token: {0}")]
    Token(#[from] getrandom::Error),
    /// The system refuses threads, signals or connections.
    #[error("the server failed: {}", .0.kind())]
    Io(#[from] io::Error),
}

/// A playground that listens and does not answer yet.
#[derive(Debug)]
pub struct Server {
    runtime: Runtime,
    listener: TcpListener,
    guard: Guard,
    url: String,
    app: Arc<App>,
}

impl Server {
    /// Listens at `at` (port 0: any free port) for requests about `catalogue`; the gallery is in `out`. At an address that other machines reach, requests
    /// need a token, which [`Server::url`] holds.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn bind(at: SocketAddr, out: &Path, catalogue: Catalogue) -> Result<Self, ServeError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = runtime
            .block_on(TcpListener::bind(at))
            .map_err(|source| ServeError::Bind { at, source })?;
        let at = listener.local_addr()?;
        let is_loopback = at.ip().is_loopback();
        let token = (!is_loopback).then(random_name).transpose()?;
        let url = match &token {
            None => format!("http://{at}/"),
            Some(token) => format!("http://{at}/?token={token}"),
        };
        let app = App {
            catalogue,
            gallery: Gallery::open(out, MAX_ITEMS, MAX_BYTES)?,
            queue: Arc::new(Queue::new(CAPACITY)),
        };
        Ok(Self {
            runtime,
            listener,
            guard: Guard { is_loopback, token },
            url,
            app: Arc::new(app),
        })
    }

    /// Where the page is, with the token if there is one.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it listens at all addresses of this machine, so that the URL names none of them.
    pub fn is_at_all_addresses(&self) -> bool {
        self.listener
            .local_addr()
            .is_ok_and(|at| at.ip().is_unspecified())
    }

    /// Answers until Ctrl-C or SIGTERM; `painter` makes what draws, in its own thread.
    ///
    /// # Errors
    /// [`ServeError::Io`].
    pub fn run(self, painter: impl FnOnce() -> Box<dyn Painter> + Send + 'static) -> Result<(), ServeError> {
        let app = self.app.clone();
        let worker = thread::Builder::new().name("painter".into()).stack_size(STACK);
        let worker =
            worker.spawn(move || app.queue.work(painter().as_mut(), &app.catalogue, &app.gallery))?;
        let queue = self.app.queue.clone();
        let routes = router(self.app, self.guard);
        let ended: io::Result<()> = self.runtime.block_on(async {
            let (stop, stopped) = tokio::sync::watch::channel(false);
            let limits = ConnectionLimits::default();
            let server = tokio::spawn(connections::serve(self.listener, routes, limits, stopped));
            stop_signal().await?;
            // Streams of events end with their jobs, and connections with their answers.
            queue.close();
            let _ = stop.send(true);
            let _ = tokio::time::timeout(GRACE, server).await;
            Ok(())
        });
        queue.close();
        // A step of a large network takes longer than anyone waits; the program's end ends it.
        let mut waited = Duration::ZERO;
        while !worker.is_finished() && waited < GRACE {
            thread::sleep(Duration::from_millis(20));
            waited += Duration::from_millis(20);
        }
        Ok(ended?)
    }
}

/// Returns at Ctrl-C or SIGTERM.
async fn stop_signal() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
