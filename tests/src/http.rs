//! A minimal HTTP client for the admin endpoint.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::wait::PATIENCE;

/// Sends `GET path`. Returns status and body, or `None` if there is no answer.
pub fn get(to: SocketAddr, path: &str) -> Option<(u16, String)> {
    call(to, &format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n"))
}

/// Sends `POST path` with a bearer token. Returns status and body, or `None` if there is no answer.
pub fn post(to: SocketAddr, path: &str, token: &str) -> Option<(u16, String)> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: {to}\r\nContent-Length: 0\r\n");
    call(to, &format!("{head}Authorization: Bearer {token}\r\n\r\n"))
}

/// Sends `POST path` with a bearer token and a JSON body. Returns status and body, or `None` if there is no answer.
pub fn post_json(to: SocketAddr, path: &str, token: &str, body: &Value) -> Option<(u16, String)> {
    let body = body.to_string();
    let head = format!("POST {path} HTTP/1.1\r\nHost: {to}\r\nAuthorization: Bearer {token}\r\n");
    let about = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    call(to, &format!("{head}{about}\r\n{body}"))
}

/// Sends `request` unchanged. Returns status and body of the answer, or `None` if there is none.
pub fn call(to: SocketAddr, request: &str) -> Option<(u16, String)> {
    let (status, _, body) = ask_with_head(to, request)?;
    Some((status, body))
}

/// Sends `request` unchanged. Returns status, head in lower case, and body of the answer, or `None` if there is none.
pub fn ask_with_head(to: SocketAddr, request: &str) -> Option<(u16, String, String)> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, head.to_lowercase(), body.to_owned()))
}

/// Returns the sum of the samples of `name` with all of `labels`. `None` if there is no such sample.
pub fn sample(metrics: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let wanted: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
    metrics
        .lines()
        .filter(|line| line.starts_with(name) && line[name.len()..].starts_with(['{', ' ']))
        .filter(|line| wanted.iter().all(|w| line.contains(w)))
        .map(|line| line.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok()).expect("a sample's value"))
        .reduce(|a, b| a + b)
}
