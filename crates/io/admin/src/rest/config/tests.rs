//! `/api/v1/config` as a client of REST meets it.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::rest::Rest;
use crate::settings::tests::{CORE, desk, folder};
use http::Request;
use http_body_util::BodyExt;

fn rest(name: &str) -> Rest {
    Rest {
        handle: driver::signal::Handle::new().0,
        token: None,
        guard: None,
        settings: Some(Arc::new(desk(&folder(name)))),
        via: "test".into(),
        certificates: None,
    }
}

/// Status, ETag, body.
async fn send(
    rest: &Rest,
    method: &str,
    below: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String, String) {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/api/v1/config{below}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = rest
        .answer(request.body(full(body.to_owned())).unwrap())
        .await;
    let tag = answer
        .headers()
        .get(ETAG)
        .map(|t| t.to_str().unwrap().to_owned());
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (
        status,
        tag.unwrap_or_default(),
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

const TOML: (&str, &str) = ("content-type", "application/toml");
const ANY: (&str, &str) = ("if-match", "*");

async fn filled(name: &str) -> Rest {
    let rest = rest(name);
    let (status, tag, body) = send(&rest, "PUT", "?author=alice", &[TOML, ANY], CORE).await;
    assert_eq!((status, tag.as_str()), (200, "\"1\""), "{body}");
    rest
}

#[tokio::test]
async fn a_document_is_shown_with_its_revision_and_without_secrets() {
    let rest = filled("rest-show").await;
    let (status, tag, json) = send(&rest, "GET", "", &[], "").await;
    assert_eq!((status, tag.as_str()), (200, "\"1\""));
    assert!(
        json.contains("\"name\":\"core1\"") && !json.contains("horse"),
        "{json}"
    );
    let accept = [("accept", "application/toml")];
    let (_, _, toml) = send(&rest, "GET", "", &accept, "").await;
    assert!(
        toml.contains("[[domains]]") && !toml.contains("horse"),
        "{toml}"
    );
    let (_, _, items) = send(&rest, "GET", "/items", &[], "").await;
    assert!(
        items.contains("\"path\":\"domains/example.test\""),
        "{items}"
    );
    // What was shown is taken back as it is, in either form.
    for (body, headers) in [(&json, &[ANY][..]), (&toml, &[ANY, TOML])] {
        let (status, tag, told) = send(&rest, "PUT", "", headers, body).await;
        assert_eq!((status, tag.as_str()), (200, "\"1\""), "{told}");
    }
}

#[tokio::test]
async fn an_item_is_changed_for_the_revision_that_was_shown() {
    let rest = filled("rest-item").await;
    let path = "/items/traversal.peer/edge1";
    let (_, tag, body) = send(&rest, "GET", path, &[], "").await;
    assert!(
        body.contains("192.0.2.1") && !body.contains("password"),
        "{body}"
    );
    let first = [("if-match", tag.as_str())];
    let patch = r#"{"hop_count":9,"user":"v"}"#;
    let (status, _, _) = send(&rest, "PATCH", path, &[], patch).await;
    assert_eq!(status, 428);
    let (status, tag, told) = send(&rest, "PATCH", path, &first, patch).await;
    assert_eq!((status, tag.as_str()), (200, "\"2\""), "{told}");
    assert!(
        told.contains("hop_count") && !told.contains("horse"),
        "{told}"
    );
    let (status, _, told) = send(&rest, "PATCH", path, &first, patch).await;
    assert_eq!(status, 412, "{told}");
    let (status, _, _) = send(&rest, "PATCH", path, &[ANY], r#"{"hop_count":null}"#).await;
    assert_eq!(status, 200);
    let domain = "/items/domains/example.org";
    let body = r#"{"name":"example.org"}"#;
    assert_eq!(send(&rest, "PUT", domain, &[ANY], body).await.0, 200);
    assert_eq!(send(&rest, "DELETE", domain, &[ANY], "").await.0, 200);
    assert_eq!(send(&rest, "DELETE", domain, &[ANY], "").await.0, 404);
    assert_eq!(send(&rest, "GET", domain, &[], "").await.0, 404);
    assert_eq!(send(&rest, "POST", domain, &[], "").await.0, 405);
    let (_, _, history) = send(&rest, "GET", "/history?limit=2", &[], "").await;
    let history: Vec<crate::settings::Past> = serde_json::from_str(&history).unwrap();
    assert_eq!(
        history.iter().map(|p| p.revision).collect::<Vec<_>>(),
        [5, 4]
    );
}

#[tokio::test]
async fn what_would_be_wrong_is_told_with_findings_and_changes_nothing() {
    let rest = filled("rest-wrong").await;
    let patch = r#"{"domains":[]}"#;
    let (status, _, told) = send(&rest, "PATCH", "", &[ANY], patch).await;
    assert_eq!(status, 422, "{told}");
    assert!(
        told.contains("\"findings\":[{") && told.contains("\"fix\":"),
        "{told}"
    );
    for (method, below, body, status) in [
        ("PUT", "", "not json", 400),
        ("PATCH", "?what=1", "{}", 400),
        ("PUT", "/items/domains/a", r#"{"name":"b"}"#, 400),
        ("POST", "/apply", r#"{"x":1}"#, 400),
        ("POST", "/rollback", r#"{"to":7}"#, 404),
        ("POST", "/backup", "{}", 400),
        ("GET", "/apply", "", 405),
        ("POST", "/history", "", 405),
        ("GET", "/nothing", "", 404),
    ] {
        let (got, _, told) = send(&rest, method, below, &[ANY], body).await;
        assert_eq!(got, status, "{method} {below} {body}: {told}");
    }
    assert_eq!(send(&rest, "GET", "", &[], "").await.1, "\"1\"");
}

#[tokio::test]
async fn settings_go_out_and_in_and_back_as_the_command_line_does_it() {
    let rest = filled("rest-ways").await;
    let seal = r#"{"passphrase":"a long passphrase"}"#;
    let (_, _, export) = send(&rest, "POST", "/export", &[], seal).await;
    assert!(
        export.contains("sealed_secrets") && !export.contains("horse"),
        "{export}"
    );
    let (_, _, sealed) = send(&rest, "POST", "/backup", &[], seal).await;
    let sealed: Sealed = serde_json::from_str(&sealed).unwrap();
    let patch = r#"{"log":{"level":"debug"}}"#;
    assert_eq!(send(&rest, "PATCH", "", &[ANY], patch).await.1, "\"2\"");
    let (_, _, told) = send(&rest, "POST", "/rollback", &[], "{}").await;
    let told: Outcome = serde_json::from_str(&told).unwrap();
    assert_eq!((told.revision, told.changes.len()), (3, 1));
    let restore = Restore {
        backup: sealed.backup,
        passphrase: "a long passphrase".into(),
        order: Order::default(),
    };
    let restore = serde_json::to_string(&restore).unwrap();
    let (status, _, told) = send(&rest, "POST", "/restore", &[], &restore).await;
    assert_eq!(status, 200, "{told}");
    let wrong = restore.replace("a long passphrase", "another passphrase");
    assert_eq!(send(&rest, "POST", "/restore", &[], &wrong).await.0, 403);
    let stale = r#"{"order":{"revision":1}}"#;
    assert_eq!(send(&rest, "POST", "/rollback", &[], stale).await.0, 409);
    let (_, _, waiting) = send(&rest, "GET", "/waiting", &[], "").await;
    assert_eq!(waiting, r#"{"revision":3,"waiting":[]}"#);
}

#[tokio::test]
async fn a_node_that_runs_by_a_file_says_so() {
    let mut rest = rest("rest-file");
    rest.settings = None;
    let (status, _, told) = send(&rest, "GET", "", &[], "").await;
    assert_eq!(status, 404);
    assert!(told.contains("--state DIR"), "{told}");
}
