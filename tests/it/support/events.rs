//! A stream of server-sent events, read as a browser reads it (HTML, section 9.2.6).

use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use serde_json::Value;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) job: Value,
}

impl Event {
    pub(crate) fn state(&self) -> &str {
        self.job["state"].as_str().unwrap()
    }
}

/// An open stream.
pub(crate) struct Events {
    response: Response,
    unread: String,
}

impl Events {
    pub(crate) async fn open(request: RequestBuilder) -> Events {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Events { response, unread: String::new() }
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        // Comments, which keep the connection alive, are none.
        tokio::time::timeout(Duration::from_secs(30), self.next_unbounded())
            .await
            .expect("no event within 30 s")
    }

    async fn next_unbounded(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.unread.split_once("\n\n") {
                let event = read(block);
                self.unread = rest.to_owned();
                if event.is_some() {
                    return event;
                }
            }
            let chunk = self.response.chunk().await.ok()??;
            self.unread.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event that is looked for; those before it are left out.
    pub(crate) async fn next_where(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next().await.expect("the stream has ended");
            if wanted(&event) {
                return event;
            }
        }
    }

    /// All that still come.
    pub(crate) async fn rest(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

/// An event; `None` for a block that has no data: a comment, or `retry`.
fn read(block: &str) -> Option<Event> {
    let (mut id, mut kind, mut data) = (String::new(), String::new(), Vec::new());
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut id),
            "event" => value.clone_into(&mut kind),
            "data" => data.push(value),
            "retry" => assert!(value.parse::<u32>().is_ok(), "{block}"),
            _ => assert!(field.is_empty(), "{block}"),
        }
    }
    (!data.is_empty()).then(|| Event { id, kind, job: serde_json::from_str(&data.join("\n")).unwrap() })
}
