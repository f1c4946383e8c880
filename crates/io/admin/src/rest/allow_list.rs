//! `/api/v1/allow-list`: rules with their hits, what becomes of a request, and what was refused.

use driver::guard::Guard;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use net::http::Body;
use status::AllowTest;

use super::{json, not_allowed, problem};
use crate::query;

/// Answers a request to `/api/v1/allow-list` or a path under it; `below` is what follows.
pub(super) async fn answer(guard: Option<&Guard>, request: &Parts, below: &str) -> Response<Body> {
    if below == "/reload" {
        return reload(guard, request).await;
    }
    if !matches!(below, "" | "/test" | "/denied") {
        return problem(
            StatusCode::NOT_FOUND,
            "there is no such resource",
            "ask for /api/v1/allow-list, /api/v1/allow-list/test?url=URL, \
             /api/v1/allow-list/denied or /api/v1/allow-list/reload",
        );
    }
    if request.method != Method::GET {
        return not_allowed("GET", "only GET is answered here");
    }
    let Some(guard) = guard else {
        return problem(
            StatusCode::NOT_FOUND,
            "this node is an edge, and the allow list is its core's",
            "ask the core",
        );
    };
    match below {
        "" => ok(&guard.report()),
        "/denied" => ok(&guard.inbox()),
        _ => match test(guard, request.uri.query().unwrap_or_default()).await {
            Ok(verdict) => verdict,
            Err(detail) => problem(
                StatusCode::BAD_REQUEST,
                &detail,
                "ask for /api/v1/allow-list/test?url=https://web.example.com/page, and method \
                 where it is not GET",
            ),
        },
    }
}

/// The configured rules are read anew and count at once.
async fn reload(guard: Option<&Guard>, request: &Parts) -> Response<Body> {
    if request.method != Method::POST {
        return not_allowed("POST", "only POST is answered here");
    }
    let Some(guard) = guard else {
        return problem(
            StatusCode::NOT_FOUND,
            "this node is an edge, and the allow list is its core's",
            "ask the core",
        );
    };
    match guard.reload().await {
        Ok(report) => ok(&report),
        Err(detail) => problem(
            StatusCode::CONFLICT,
            &detail,
            "correct the configuration (causeway check), and ask again; until then the rules from \
             before count",
        ),
    }
}

async fn test(guard: &Guard, query: &str) -> Result<Response<Body>, String> {
    let mut asked = AllowTest::default();
    for (name, value) in query::pairs(query)? {
        match name {
            "url" => asked.url = value,
            "method" => asked.method = value,
            _ => return Err(format!("{name} is not known")),
        }
    }
    if asked.url.is_empty() {
        return Err("url is missing".into());
    }
    Ok(ok(&guard.test(&asked).await?))
}

fn ok(value: &impl serde::Serialize) -> Response<Body> {
    json(StatusCode::OK, "application/json", value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    const CORE: &str = r#"
role = "core"
name = "core1"
domain = "example.test"
dns.servers = ["127.0.0.1:9"]
certificate = { chain = "c", key = "k", trusted = "t" }
service.sip.listen = ["127.0.0.1:5060"]
service.media.listen = "127.0.0.1"
domains = [{ name = "example.test" }]
[[traversal.peer]]
name = "edge1"
dial = "192.0.2.1"
verify_name = "edge1.example.test"
user = "u"
password = "long and random"
[[allow_list]]
host = "web.test"
[[allow_list]]
host = "10.0.0.9"
path = "/a"
"#;

    fn guard() -> Guard {
        let checked = config::load(CORE, std::path::Path::new("x.toml")).unwrap();
        Guard::offline(checked.config).unwrap()
    }

    #[tokio::test]
    async fn the_allow_list_is_shown_tested_and_asked_for_what_it_refused() {
        let table = [
            ("GET", "", 200, "\"host\":\"web.test\""),
            ("GET", "/denied", 200, "\"denied\":[]"),
            (
                "GET",
                "/test?url=https://10.0.0.9/a/b%2525",
                200,
                "\"allowed\":true",
            ),
            (
                "GET",
                "/test?url=https://10.0.0.9/b",
                200,
                "path must begin with /a",
            ),
            (
                "GET",
                "/test?url=https://10.0.0.9/a&method=PUT",
                200,
                "\"status\":403",
            ),
            ("GET", "/test?url=/%2F", 400, "encoded domain"),
            ("GET", "/test?url=x", 400, "no URL"),
            ("GET", "/test", 400, "url is missing"),
            ("GET", "/test?url=%zz", 400, "cannot be read"),
            ("GET", "/test?what=1", 400, "not known"),
            ("GET", "/other", 404, "no such resource"),
            ("GET", "x", 404, "no such resource"),
            ("POST", "", 405, "only GET"),
            ("GET", "/reload", 405, "only POST"),
            ("POST", "/reload", 409, "runs by no file"),
        ];
        let guard = guard();
        for (method, below, status, holds) in table {
            let uri = format!("/api/v1/allow-list{below}");
            let request = Request::builder().method(method).uri(uri).body(()).unwrap();
            let (request, ()) = request.into_parts();
            let path = below.split('?').next().unwrap();
            let response = answer(Some(&guard), &request, path).await;
            assert_eq!(response.status().as_u16(), status, "{below}");
            let body = http_body_util::BodyExt::collect(response.into_body())
                .await
                .unwrap();
            let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
            assert!(text.contains(holds), "{below}: {text}");
            if status == 200 {
                let none = answer(None, &request, path).await;
                assert_eq!(none.status().as_u16(), 404, "an edge has none");
            }
        }
    }

    #[tokio::test]
    async fn a_core_that_runs_is_asked_over_its_socket() {
        let folder = std::env::temp_dir().join(format!("causeway-allow-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let socket = folder.join(crate::SOCKET);
        let rest = super::super::Rest {
            handle: driver::signal::Handle::new().0,
            token: None,
            guard: Some(guard()),
            settings: None,
            via: "test".into(),
            certificates: None,
        };
        let (_stop, stopping) = tokio::sync::watch::channel(false);
        tokio::spawn(
            crate::serve::local(net::tls::Live::new(rest.into()), &socket, stopping).unwrap(),
        );
        let shown = crate::allow_list::rules(&socket).await.unwrap();
        assert_eq!(shown.rules.len(), 2);
        let url = "https://10.0.0.9/a/%25?b&c=d".to_owned();
        let method = "head".to_owned();
        let asked = AllowTest { url, method };
        let verdict = crate::allow_list::test(&socket, &asked).await.unwrap();
        assert!(verdict.allowed, "{verdict:?}");
        assert_eq!(verdict.request, "HEAD https://10.0.0.9/a/%25");
        let denied = crate::allow_list::denied(&socket).await.unwrap();
        assert!(denied.denied.is_empty());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
