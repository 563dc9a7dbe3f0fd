//! One request on a connection of its own, within bounds of time and memory.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{At, CallError, Endpoint};
use crate::platform::UnixStream;

/// The proxy answers within a second even under load; after this time another server or a fault is likely.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// A status page with every listener's list of sources full has a few megabytes.
const MOST_BYTES: usize = 64 << 20;
/// A sample has a few hundred bytes for each listener and upstream.
const MOST_EVENT_BYTES: usize = 4 << 20;

/// The wish of a reader of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Next {
    /// Another event.
    More,
    /// No further event.
    Stop,
}

/// Sends a request, a `POST` if there is a body, and returns the JSON of the answer.
pub(super) fn call(endpoint: &Endpoint, path: &str, body: Option<&Value>) -> Result<Value, CallError> {
    let at = endpoint.to_string();
    run(&at, async {
        let whole = async {
            let response = send(endpoint, path, body).await?;
            let garbled = |reason: String| CallError::Garbled { at: at.clone(), reason };
            let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
            let body = body.map_err(|error| garbled(error.to_string()))?.to_bytes();
            serde_json::from_slice(&body).map_err(|error| garbled(error.to_string()))
        };
        timeout(PATIENCE, whole).await.map_err(|_| CallError::Slow { at: at.clone() })?
    })
}

/// Reads `/api/events`. The proxy sends a sample each second.
pub(super) fn events(endpoint: &Endpoint, mut each: impl FnMut(Value) -> Next) -> Result<(), CallError> {
    let at = endpoint.to_string();
    run(&at, async {
        let slow = |_| CallError::Slow { at: at.clone() };
        let response = timeout(PATIENCE, send(endpoint, "/api/events", None)).await.map_err(slow)??;
        let mut body = response.into_body();
        let mut held = Vec::new();
        loop {
            let frame = timeout(PATIENCE, body.frame()).await.map_err(slow)?;
            let Some(Ok(frame)) = frame else { return Err(CallError::Ended { at: at.clone() }) };
            held.extend_from_slice(frame.data_ref().map(Bytes::as_ref).unwrap_or_default());
            if held.len() > MOST_EVENT_BYTES {
                return Err(CallError::Garbled { at: at.clone(), reason: "an event is too long".to_owned() });
            }
            while let Some(event) = take_event(&mut held) {
                if let Some(sample) = sample(&event)
                    && each(sample) == Next::Stop
                {
                    return Ok(());
                }
            }
        }
    })
}

/// Removes the first event, which ends with an empty line.
fn take_event(held: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = held.windows(2).position(|two| two == b"\n\n")?;
    let mut event = held.split_off(end + 2);
    std::mem::swap(held, &mut event);
    Some(event)
}

/// Returns the data of a sample; `None` for other events.
fn sample(event: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(event).ok()?.trim_end();
    serde_json::from_str(text.strip_prefix("event: sample\ndata: ")?).ok()
}

fn run<T>(at: &str, work: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    let unreachable =
        |error: io::Error| CallError::Unreachable { at: at.to_owned(), reason: error.to_string() };
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unreachable)?.block_on(work)
}

async fn send(
    endpoint: &Endpoint,
    path: &str,
    body: Option<&Value>,
) -> Result<Response<Incoming>, CallError> {
    let at = || endpoint.to_string();
    let unreachable = |error: io::Error| CallError::Unreachable { at: at(), reason: error.to_string() };
    let response = match &endpoint.at {
        At::Tcp { host, port } => {
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            let stream = TcpStream::connect((bare, *port)).await.map_err(unreachable)?;
            exchange(stream, endpoint, path, body).await?
        }
        At::Unix(file) => {
            let stream = UnixStream::connect(file).await.map_err(unreachable)?;
            exchange(stream, endpoint, path, body).await?
        }
    };
    match response.status() {
        StatusCode::OK => Ok(response),
        StatusCode::UNAUTHORIZED if endpoint.token.is_none() => Err(CallError::NoToken { at: at() }),
        StatusCode::UNAUTHORIZED => Err(CallError::Token { at: at() }),
        status => {
            let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let told: Option<Value> = serde_json::from_slice(&body).ok();
            let message =
                told.and_then(|told| told["message"].as_str().map(|text| text.escape_debug().to_string()));
            Err(CallError::Refused { at: at(), path: path.to_owned(), status, message })
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    endpoint: &Endpoint,
    path: &str,
    body: Option<&Value>,
) -> Result<Response<Incoming>, CallError> {
    let garbled = |reason: String| CallError::Garbled { at: endpoint.to_string(), reason };
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| garbled(error.to_string()))?;
    // Its end is seen by the sender.
    tokio::spawn(connection);
    let method = if body.is_some() { Method::POST } else { Method::GET };
    let mut request = Request::builder().method(method).uri(path);
    request = request.header(HOST, endpoint.at.authority()).header(CONNECTION, "close");
    if let Some(token) = &endpoint.token {
        let value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()));
        let mut value = value.map_err(|_| CallError::Token { at: endpoint.to_string() })?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let body: Full<Bytes> = Full::new(body.map(|body| body.to_string().into()).unwrap_or_default());
    let request = request.body(body).map_err(|error: hyper::http::Error| garbled(error.to_string()))?;
    sender.send_request(request).await.map_err(|error| garbled(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_one_by_one() {
        let mut held = b"retry: 2000\n\nevent: sample\ndata: {\"clients\":3}\n\nevent: sam".to_vec();
        let events: Vec<_> = std::iter::from_fn(|| take_event(&mut held)).collect();
        assert_eq!(
            events.iter().filter_map(|event| sample(event)).collect::<Vec<_>>(),
            [serde_json::json!({"clients": 3})]
        );
        assert_eq!((events.len(), held.as_slice()), (2, &b"event: sam"[..]));
    }
}
