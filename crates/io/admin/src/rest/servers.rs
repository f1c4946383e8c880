//! `/api/v1/servers`: the inside's servers, what has changed at them, and that they be asked now.

use driver::signal::Handle;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use net::http::Body;
use status::servers::ServersQuestion;

use super::{json, not_allowed, problem, stopping};
use crate::query;

/// Answers a request to `/api/v1/servers` or a path under it; `below` is what follows.
pub(super) async fn answer(handle: &Handle, request: &Parts, below: &str) -> Response<Body> {
    let (allowed, refresh) = match below {
        "" => (Method::GET, false),
        "/refresh" => (Method::POST, true),
        _ => {
            return problem(
                StatusCode::NOT_FOUND,
                "there is no such resource",
                "ask for /api/v1/servers, or POST to /api/v1/servers/refresh",
            );
        }
    };
    if request.method != allowed {
        let detail = format!("only {allowed} is answered here");
        let allow = if refresh { "POST" } else { "GET" };
        return not_allowed(allow, &detail);
    }
    let name = match name(request.uri.query().unwrap_or_default()) {
        Ok(name) => name,
        Err(detail) => {
            let fix = "name one server by name=ADDRESS, or none";
            return problem(StatusCode::BAD_REQUEST, &detail, fix);
        }
    };
    let asked = match refresh {
        true => ServersQuestion::Refresh { name: name.clone() },
        false => ServersQuestion::Show,
    };
    let Ok(mut report) = handle.servers(asked).await else {
        return stopping();
    };
    if !refresh && !name.is_empty() {
        let is = |server: &str| server.eq_ignore_ascii_case(&name);
        report.servers.retain(|s| is(&s.name));
        report.history.retain(|c| is(&c.server));
        if report.servers.is_empty() && report.refused.is_empty() {
            report.refused = format!("{name} is no server of the configuration");
        }
    }
    if !report.refused.is_empty() {
        let fix = "ask a core for /api/v1/servers: it lists those that there are";
        return problem(StatusCode::BAD_REQUEST, &report.refused, fix);
    }
    json(StatusCode::OK, "application/json", &report)
}

fn name(query: &str) -> Result<String, String> {
    let mut named = String::new();
    for (name, value) in query::pairs(query)? {
        match name {
            "name" => named = value,
            _ => return Err(format!("{name} is not known")),
        }
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use driver::signal::{Answer, Post, Question};
    use http::Request;
    use status::servers::{ServerChange, ServerRow, ServersReport};

    async fn ask(method: &str, path: &str) -> (u16, String) {
        let (handle, mut posts) = Handle::new();
        tokio::spawn(async move {
            while let Some(Post::Ask { question, reply }) = posts.recv().await {
                let Question::Servers(asked) = question else {
                    continue;
                };
                let row = |name: &str| ServerRow {
                    name: name.into(),
                    ..ServerRow::default()
                };
                let what = format!("{asked:?}");
                let report = ServersReport {
                    servers: vec![row("cucm1.example.test"), row("imp1.example.test")],
                    history: vec![ServerChange {
                        server: "imp1.example.test".into(),
                        what,
                        ..ServerChange::default()
                    }],
                    ..ServersReport::default()
                };
                let _ = reply.send(Answer::Servers(Box::new(report)));
            }
        });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(())
            .unwrap();
        let (parts, ()) = request.into_parts();
        let below = parts
            .uri
            .path()
            .strip_prefix("/api/v1/servers")
            .unwrap()
            .to_owned();
        let response = answer(&handle, &parts, &below).await;
        let status = response.status().as_u16();
        let body = super::super::text(response.into_body(), 16 * 1024)
            .await
            .unwrap();
        (status, String::from_utf8(body).unwrap())
    }

    #[tokio::test]
    async fn servers_are_shown_one_or_all_and_asked_by_post_alone() {
        let (status, body) = ask("GET", "/api/v1/servers").await;
        assert!(
            status == 200 && body.contains("cucm1") && body.contains("Show"),
            "{body}"
        );
        let (status, body) = ask("GET", "/api/v1/servers?name=CUCM1.example.test").await;
        assert!(
            status == 200 && body.contains("cucm1") && !body.contains("imp1"),
            "{body}"
        );
        let (status, body) = ask("POST", "/api/v1/servers/refresh?name=a%20b").await;
        assert!(
            status == 200 && body.contains("Refresh { name: \\\"a b\\\" }"),
            "{body}"
        );
        for (method, path, want) in [
            ("GET", "/api/v1/servers?name=nobody", 400),
            ("GET", "/api/v1/servers?what=1", 400),
            ("GET", "/api/v1/servers/refresh", 405),
            ("POST", "/api/v1/servers", 405),
            ("GET", "/api/v1/servers/other", 404),
        ] {
            assert_eq!(ask(method, path).await.0, want, "{method} {path}");
        }
    }
}
