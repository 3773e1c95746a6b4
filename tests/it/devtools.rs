//! A browser that a test drives, by the DevTools protocol over pipes: no driver, no socket.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The longest wait for an answer of the browser.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running browser.
pub struct Browser {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    events: VecDeque<Value>,
    n_calls: u64,
    _profile: TempDir,
}

/// A tab of its own user: other tabs share no cookies and no storage with it.
#[derive(Clone)]
pub struct Tab {
    session: String,
}

impl Browser {
    /// Starts the browser that `ECLIPSE_CHROMIUM` names; `None` if it names none.
    pub fn start() -> Option<Self> {
        let Ok(browser) = std::env::var("ECLIPSE_CHROMIUM") else {
            eprintln!("not run: ECLIPSE_CHROMIUM does not name a Chromium (.ci/run sets it)");
            return None;
        };
        let profile = tempfile::tempdir().expect("a folder");
        // The protocol reads file descriptor 3 and writes 4; a shell puts the pipes there.
        let mut child = Command::new("sh")
            .args([
                "-c",
                "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1",
                &browser,
            ])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args(["--no-first-run", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, messages) = mpsc::channel();
        std::thread::spawn(move || {
            for message in output.split(0) {
                let Ok(message) = message else { return };
                let message = serde_json::from_slice(&message).expect("JSON");
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        Some(Self {
            child,
            input,
            messages,
            events: VecDeque::new(),
            n_calls: 0,
            _profile: profile,
        })
    }

    fn call(&mut self, session: Option<&str>, method: &str, params: Value) -> Value {
        let answer = self.ask(session, method, params);
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The result of a method of the protocol, or the browser's error.
    fn ask(&mut self, session: Option<&str>, method: &str, params: Value) -> Result<Value, Value> {
        self.n_calls += 1;
        let id = self.n_calls;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let bytes = [message.to_string().as_bytes(), &[0]].concat();
        self.input.write_all(&bytes).expect("the browser listens");
        let begun = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            let answer = self.messages.recv_timeout(left);
            let answer = answer.unwrap_or_else(|e| panic!("no answer of the browser to {method}: {e}"));
            if answer["id"] == id {
                return match &answer["error"] {
                    Value::Null => Ok(answer["result"].clone()),
                    error => Err(error.clone()),
                };
            }
            if answer["id"].is_null() {
                self.events.push_back(answer);
            }
        }
    }

    /// Opens `url` as a new user, on a screen so wide and high.
    pub fn open(&mut self, url: &str, [width, height]: [u32; 2]) -> Tab {
        let context = self.call(None, "Target.createBrowserContext", json!({}));
        let target = self.call(
            None,
            "Target.createTarget",
            json!({ "url": "about:blank", "browserContextId": context["browserContextId"] }),
        );
        let attached = self.call(
            None,
            "Target.attachToTarget",
            json!({ "targetId": target["targetId"], "flatten": true }),
        );
        let tab = Tab {
            session: attached["sessionId"].as_str().expect("a session").to_owned(),
        };
        for domain in ["Page", "Runtime", "Log"] {
            self.tell(&tab, &format!("{domain}.enable"), json!({}));
        }
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.tell(&tab, "Emulation.setDeviceMetricsOverride", metrics);
        self.go(&tab, url);
        tab
    }

    /// Calls a method of the protocol for a tab.
    pub fn tell(&mut self, tab: &Tab, method: &str, params: Value) -> Value {
        self.call(Some(&tab.session), method, params)
    }

    /// Goes to `url` and waits until it is loaded.
    pub fn go(&mut self, tab: &Tab, url: &str) {
        self.tell(tab, "Page.navigate", json!({ "url": url }));
        self.wait(
            tab,
            "location.href !== 'about:blank' && document.readyState === 'complete'",
        );
    }

    /// The value of an expression, or of the promise that it is.
    pub fn value(&mut self, tab: &Tab, expression: &str) -> Value {
        let answer = self.evaluate(tab, expression);
        answer.unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    fn evaluate(&mut self, tab: &Tab, expression: &str) -> Result<Value, Value> {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true });
        let answer = self.ask(Some(&tab.session), "Runtime.evaluate", params)?;
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer:#}");
        Ok(answer["result"]["value"].clone())
    }

    /// Waits until an expression is true. A page that gives way to the next one has no values (`Inspected target navigated or closed`,
    /// `Cannot find default execution context`): that is no answer, and the next page is asked.
    pub fn wait(&mut self, tab: &Tab, expression: &str) {
        let begun = Instant::now();
        while !self.evaluate(tab, expression).is_ok_and(|value| value == true) {
            if begun.elapsed() > PATIENCE {
                let text = self.value(tab, "document.body.innerText");
                panic!("in vain: {expression}\n{}", text.as_str().unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Types into the field that a selector finds, as a keyboard does.
    pub fn type_into(&mut self, tab: &Tab, selector: &str, text: &str) {
        self.value(
            tab,
            &format!(
                "{{ const field = document.querySelector('{selector}'); field.focus(); field.select(); }}"
            ),
        );
        self.tell(tab, "Input.insertText", json!({ "text": text }));
    }

    /// Presses a key.
    pub fn press(&mut self, tab: &Tab, key: &str, code: u32) {
        for kind in ["rawKeyDown", "char", "keyUp"] {
            let text = if key == "Enter" { "\r" } else { "" };
            if kind == "char" && text.is_empty() {
                continue;
            }
            let params = json!({ "type": kind, "key": key, "windowsVirtualKeyCode": code, "text": text });
            self.tell(tab, "Input.dispatchKeyEvent", params);
        }
    }

    /// A PNG of what the tab shows.
    pub fn screenshot(&mut self, tab: &Tab) -> Vec<u8> {
        use base64::Engine;
        let shot = self.tell(tab, "Page.captureScreenshot", json!({}));
        let data = shot["data"].as_str().expect("data");
        base64::engine::general_purpose::STANDARD
            .decode(data)
            .expect("base64")
    }

    /// Errors, warnings and violations of the content security policy since the last call, of all tabs.
    pub fn complaints(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        for event in self.events.drain(..) {
            let params = &event["params"];
            match event["method"].as_str() {
                Some("Runtime.exceptionThrown") => found.push(params["exceptionDetails"].to_string()),
                Some("Log.entryAdded") => found.push(params["entry"]["text"].to_string()),
                Some("Runtime.consoleAPICalled") => found.push(params["args"].to_string()),
                _ => {}
            }
        }
        found
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
