//! Asks a running node over its local socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::query;
use crate::settings::Found;
use ::status::Page;
use ::status::servers::ServersReport;
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

const WITHIN: Duration = Duration::from_secs(10);
/// Servers that are asked have 40 s for each question; five may follow one another (two of a probe
/// under way, three of the whole reading after it), and there is some more.
const SERVERS_WITHIN: Duration = Duration::from_secs(300);
/// A passphrase is stretched, and what settings name is looked at.
const POST_WITHIN: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskFault {
    /// Nobody listens on the socket.
    #[error(
        "no node answers on {path} ({cause}); start it with causeway run, as a user who may \
         read its data folder"
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The node refused the question: it is not to be asked so.
    #[error("{detail}; {fix}")]
    Refused {
        /// What is wrong.
        detail: String,
        /// What to do.
        fix: String,
    },
    /// The settings that were sent have mistakes.
    #[error("the settings would have mistakes")]
    Mistakes(Vec<Found>),
    /// The node did not answer as it should.
    #[error("the node gave no good answer: {0}")]
    Answer(String),
}

/// Asks for a resource; gives the body.
///
/// # Errors
/// [`AskFault`].
pub async fn get(socket: &Path, resource: &str) -> Result<Vec<u8>, AskFault> {
    within(WITHIN, ask(socket, Method::GET, resource)).await
}

/// Has a node do something; gives the body.
///
/// # Errors
/// [`AskFault`].
pub async fn command(socket: &Path, resource: &str) -> Result<Vec<u8>, AskFault> {
    within(WITHIN, ask(socket, Method::POST, resource)).await
}

async fn within(
    time: Duration,
    asked: impl Future<Output = Result<Vec<u8>, AskFault>>,
) -> Result<Vec<u8>, AskFault> {
    match tokio::time::timeout(time, asked).await {
        Ok(result) => result,
        Err(_) => Err(AskFault::Answer(format!(
            "nothing within {} s",
            time.as_secs()
        ))),
    }
}

/// Asks what is known of the inside's servers; of one if it is named.
///
/// # Errors
/// [`AskFault`].
pub async fn servers(socket: &Path, name: &str) -> Result<ServersReport, AskFault> {
    let body = get(socket, &server_of("/api/v1/servers", name)).await?;
    serde_json::from_slice(&body).map_err(|e| AskFault::Answer(e.to_string()))
}

/// Has the inside's servers asked, or the one that is named, and waits for them.
///
/// # Errors
/// [`AskFault`].
pub async fn refresh_servers(socket: &Path, name: &str) -> Result<ServersReport, AskFault> {
    let resource = server_of("/api/v1/servers/refresh", name);
    let body = within(SERVERS_WITHIN, ask(socket, Method::POST, &resource)).await?;
    serde_json::from_slice(&body).map_err(|e| AskFault::Answer(e.to_string()))
}

/// Signs a user out; in one domain alone if it is named.
///
/// # Errors
/// [`AskFault`].
pub async fn sign_out(
    socket: &Path,
    user: &str,
    domain: &str,
) -> Result<status::SignOutReport, AskFault> {
    let [user, domain] = [user, domain].map(query::escaped);
    let resource = format!("/api/v1/sign-out?user={user}&domain={domain}");
    let body = within(WITHIN, ask(socket, Method::POST, &resource)).await?;
    serde_json::from_slice(&body).map_err(|e| AskFault::Answer(e.to_string()))
}

fn server_of(resource: &str, name: &str) -> String {
    match name {
        "" => resource.to_owned(),
        name => format!("{resource}?name={}", query::escaped(name)),
    }
}

/// Asks for the node's snapshot with some of its rows.
///
/// # Errors
/// [`AskFault`].
pub async fn status(socket: &Path, page: &Page) -> Result<::status::Snapshot, AskFault> {
    let body = get(socket, &status_of(page)).await?;
    serde_json::from_slice(&body).map_err(|e| AskFault::Answer(e.to_string()))
}

/// The resource of a snapshot with some of its rows.
pub fn status_of(page: &Page) -> String {
    let mut query = vec![format!("from={}", page.from)];
    query.extend(page.limit.map(|limit| format!("registrations={limit}")));
    query.extend(page.history.map(|limit| format!("history={limit}")));
    if let Some(find) = &page.find {
        let encoded = find.bytes().map(|b| match b {
            b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        });
        query.push(format!("find={}", encoded.collect::<String>()));
    }
    format!("/api/v1/status?{}", query.join("&"))
}

/// Asks where a request would go.
///
/// # Errors
/// [`AskFault`].
pub async fn search(
    socket: &Path,
    asked: &status::SearchQuestion,
) -> Result<status::SearchReport, AskFault> {
    let resource = format!("/api/v1/search?{}", query::of(asked));
    let body = get(socket, &resource).await?;
    serde_json::from_slice(&body).map_err(|e| AskFault::Answer(e.to_string()))
}

/// Sends JSON to a resource; gives the body of the answer.
///
/// # Errors
/// [`AskFault`].
pub async fn post_json(
    socket: &Path,
    resource: &str,
    sent: &impl serde::Serialize,
) -> Result<Vec<u8>, AskFault> {
    let sent = serde_json::to_vec(sent).map_err(|e| AskFault::Answer(e.to_string()))?;
    within(POST_WITHIN, send(socket, Method::POST, resource, sent)).await
}

async fn ask(socket: &Path, method: Method, resource: &str) -> Result<Vec<u8>, AskFault> {
    send(socket, method, resource, Vec::new()).await
}

async fn send(
    socket: &Path,
    method: Method,
    resource: &str,
    sent: Vec<u8>,
) -> Result<Vec<u8>, AskFault> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|cause| AskFault::NotRunning {
            path: socket.to_owned(),
            cause,
        })?;
    let answer = |e: &dyn std::fmt::Display| AskFault::Answer(e.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| answer(&e))?;
    // Ends with the sender; what goes wrong reaches it.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(resource)
        .header(http::header::HOST, "localhost")
        .body(Full::new(bytes::Bytes::from(sent)))
        .map_err(|e| answer(&e))?;
    let response = sender.send_request(request).await.map_err(|e| answer(&e))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|e| answer(&e))?
        .to_bytes();
    if !status.is_success() {
        return Err(refusal(status, &body));
    }
    Ok(body.to_vec())
}

/// A refusal in words (RFC 9457).
fn refusal(status: http::StatusCode, body: &[u8]) -> AskFault {
    #[derive(serde::Deserialize)]
    struct Problem {
        detail: String,
        fix: String,
        #[serde(default)]
        findings: Vec<Found>,
    }
    match serde_json::from_slice(body) {
        Ok(Problem { findings, .. }) if !findings.is_empty() => AskFault::Mistakes(findings),
        Ok(Problem { detail, fix, .. }) if status == http::StatusCode::BAD_REQUEST => {
            AskFault::Refused { detail, fix }
        }
        // It may answer the same question another time, or another node may.
        Ok(Problem { detail, fix, .. }) => AskFault::Answer(format!("{detail}; {fix}")),
        Err(_) => AskFault::Answer(format!("it said {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_words() {
        let status = http::StatusCode::BAD_REQUEST;
        let body =
            br#"{"title":"Bad Request","status":400,"detail":"to is missing","fix":"give it"}"#;
        assert_eq!(refusal(status, body).to_string(), "to is missing; give it");
        assert!(matches!(refusal(status, body), AskFault::Refused { .. }));
        let busy = refusal(http::StatusCode::SERVICE_UNAVAILABLE, body);
        assert!(matches!(busy, AskFault::Answer(_)), "{busy:?}");
        assert!(busy.to_string().ends_with(": to is missing; give it"));
        let odd = refusal(status, b"<html>").to_string();
        assert_eq!(odd, "the node gave no good answer: it said 400 Bad Request");
    }
}
