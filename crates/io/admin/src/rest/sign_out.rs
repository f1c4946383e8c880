//! `/api/v1/sign-out`: ends what a user has, everywhere.

use driver::signal::Handle;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use net::http::Body;

use super::{json, not_allowed, problem, stopping};
use crate::query;

/// The longest name taken, in bytes.
const NAME_BYTES_MAX: usize = 512;

/// Answers `POST /api/v1/sign-out?user=NAME&domain=DOMAIN`.
pub(super) async fn answer(handle: &Handle, request: &Parts) -> Response<Body> {
    if request.method != Method::POST {
        return not_allowed("POST", "only POST is answered here");
    }
    let (user, domain) = match read(request.uri.query().unwrap_or_default()) {
        Ok(read) => read,
        Err(detail) => {
            let fix = "ask for /api/v1/sign-out?user=NAME, and domain=DOMAIN for that one alone";
            return problem(StatusCode::BAD_REQUEST, &detail, fix);
        }
    };
    match handle.sign_out(user, domain).await {
        Ok(Some(report)) => json(StatusCode::OK, "application/json", &report),
        Ok(None) => problem(
            StatusCode::NOT_FOUND,
            "an edge signs nobody out",
            "ask a core: it tells its edges, and they their other cores",
        ),
        Err(_) => stopping(),
    }
}

fn read(query: &str) -> Result<(String, String), String> {
    let (mut user, mut domain) = (String::new(), String::new());
    for (name, value) in query::pairs(query)? {
        match name {
            "user" => user = value,
            "domain" => domain = value.to_ascii_lowercase(),
            _ => return Err(format!("{name} is not known")),
        }
    }
    if user.is_empty() {
        return Err("user is missing: whom to sign out".into());
    }
    if user.len() > NAME_BYTES_MAX || domain.len() > NAME_BYTES_MAX {
        return Err("the name is too long".into());
    }
    Ok((user, domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_a_user_and_may_name_a_domain() {
        let read = |query| read(query).map_err(|e| !e.is_empty());
        let pair = |a: &str, b: &str| Ok((a.to_owned(), b.to_owned()));
        assert_eq!(read("user=alice%40x"), pair("alice@x", ""));
        assert_eq!(read("domain=Own.TEST&user=b"), pair("b", "own.test"));
        for bad in ["", "user=", "domain=d", "user=a&x=1", "user=%zz"] {
            assert_eq!(read(bad), Err(true), "{bad}");
        }
        assert_eq!(read(&format!("user={}", "a".repeat(513))), Err(true));
    }
}
