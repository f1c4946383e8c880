//! Single sign-on over HTTP: what reaches the node, and what a bearer token opens.

use base::{Pii, Rng};
use driver::signal::Post;
use node::io::{Answer, Question, Reply, Shown};
use policy::token::TokenKey;
use provisioning::path::{EdgePath, Server};
use tokio::sync::mpsc;

use crate::http::{SSO_DOMAIN, World, world};

fn reply(status: u16) -> Reply {
    Reply {
        status,
        headers: vec![("WWW-Authenticate", "Bearer realm=\"sso.test\"".into())],
        body: String::new(),
    }
}

/// Answers the node's questions by `answer`, and gives them back.
fn node(
    mut posts: mpsc::Receiver<Post>,
    answer: fn(&Question) -> Answer,
) -> mpsc::UnboundedReceiver<Question> {
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(post) = posts.recv().await {
            if let Post::Ask { question, reply } = post {
                let _ = reply.send(answer(&question));
                let _ = tell.send(question);
            }
        }
    });
    told
}

fn own(path: &str) -> String {
    format!("/{}/{path}", EdgePath::encode(SSO_DOMAIN, None))
}

async fn say(world: &World, method: &str, path: &str, fields: &str, body: &str) -> String {
    let length = match body {
        "" => String::new(),
        body => format!("Content-Length: {}\r\n", body.len()),
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: h\r\n{fields}{length}Connection: close\r\n\r\n{body}"
    );
    world.say(&request).await
}

#[tokio::test]
async fn requests_of_single_sign_on_reach_the_node_whole() {
    let mut world = world().await;
    let posts = world.core_posts.take().unwrap();
    let mut told = node(posts, |_| Answer::SignIn(reply(204)));
    let mut next = async |answer: String| {
        assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
        match told.recv().await.unwrap() {
            Question::Sso(asked) => *asked,
            _ => panic!("another question"),
        }
    };
    let cookies = "Cookie: a=b; X-Sign-In=c1; X-Auth=t1\r\n";
    let asked = next(say(&world, "GET", &own("oidc?code=1&state=2"), cookies, "").await).await;
    assert_eq!(
        (asked.domain.as_str(), asked.target.as_str()),
        (SSO_DOMAIN, "oidc?code=1&state=2")
    );
    assert_eq!(asked.cookie.as_deref(), Some("c1"));
    assert!(matches!(asked.shown, Shown::Sessions(all) if all == ["t1"]));
    assert!(asked.form.is_none() && asked.client.is_some());

    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    let body = format!("SAMLResponse={}&RelayState=r", "A".repeat(100_000));
    let asked = next(say(&world, "POST", &own("fedlet"), kind, &body).await).await;
    assert_eq!(asked.form.unwrap().expose(), &body);
    let bearer = "Authorization: Bearer abc.def\r\n";
    let asked = next(say(&world, "GET", &own("get_edge_config"), bearer, "").await).await;
    assert!(matches!(asked.shown, Shown::Bearer(token) if token.expose() == "abc.def"));

    for (method, path, fields, body, status) in [
        ("GET", "fedlet", "", "", 405),
        ("POST", "authorize", kind, "a=b", 405),
        ("POST", "fedlet", "Content-Type: text/plain\r\n", "a=b", 415),
        ("POST", "fedlet", kind, &"A".repeat(300_000), 413),
        ("GET", "other", "", "", 404),
    ] {
        let answer = say(&world, method, &own(path), fields, body).await;
        let start = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&start), "{method} {path}: {answer}");
    }
}

#[tokio::test]
async fn a_bearer_token_that_the_node_takes_opens_an_inside_server_and_goes_there() {
    let mut world = world().await;
    let posts = world.core_posts.take().unwrap();
    let mut told = node(posts, |question| match question {
        Question::Bearer { token, .. } if token.expose() == "good" => {
            Answer::Bearer(Ok(Pii::new("alice".into())))
        }
        _ => Answer::Bearer(Err(reply(401))),
    });
    let server = Server::parse(&format!("http/127.0.0.1/{}", world.inside.port())).unwrap();
    let path = |domain| format!("/{}/public/a", EdgePath::encode(domain, Some(&server)));
    let good = "Authorization: Bearer good\r\n";
    let answer = say(&world, "GET", &path(SSO_DOMAIN), good, "").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let Some(Question::Bearer { domain, client, .. }) = told.recv().await else {
        panic!("another question")
    };
    assert_eq!((domain.as_str(), client.is_some()), (SSO_DOMAIN, true));
    let head = world.seen.lock().unwrap().pop().unwrap();
    assert!(head.contains("authorization: Bearer good\r\n"), "{head}");

    let bad = "Authorization: Bearer bad\r\n";
    let answer = say(&world, "GET", &path(SSO_DOMAIN), bad, "").await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(
        answer.contains("www-authenticate: Bearer realm=\"sso.test\""),
        "{answer}"
    );
    // Where no issuer's word counts, the edge asks nobody.
    let answer = say(&world, "GET", &path(crate::http::DOMAIN), good, "").await;
    assert!(answer.contains("www-authenticate: Basic"), "{answer}");
    assert!(told.recv().await.is_some() && told.try_recv().is_err());
    assert!(world.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_session_token_shown_as_bearer_counts_and_stays_outside() {
    let world = world().await;
    let key = TokenKey::from_seed(&[7; 32]).unwrap();
    let now = driver::signal::Clock::start().now().unix;
    let token = key.issue(now, &mut Rng::from_number(2), "alice", SSO_DOMAIN);
    let server = Server::parse(&format!("http/127.0.0.1/{}", world.inside.port())).unwrap();
    let path = format!("/{}/public/a", EdgePath::encode(SSO_DOMAIN, Some(&server)));
    let shown = format!("Authorization: Bearer {token}\r\n");
    let answer = say(&world, "GET", &path, &shown, "").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let head = world.seen.lock().unwrap().pop().unwrap();
    assert!(!head.contains("authorization"), "{head}");
}
