//! HTTPS: framing, edge paths, inside servers' documents, session tokens.

use base::UnixTime;
use net::http::framing::Framing;
use policy::allow_list::{Access, AllowList, Origin, Rule, Verdict};
use policy::token::{PublicKey, TokenKey};
use provisioning::path::{EdgePath, Server};
use provisioning::{axl, edge_config, uds};

/// What requests and documents are made of.
pub(crate) const WORDS: &[&str] = &[
    "\r\n",
    "\r\n\r\n",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "Host: h\r\n",
    "Content-Length: ",
    "GET /",
    "POST /",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "\n",
    "Expect: 100-continue\r\n",
    "/https/cucm1.example.test/8443",
    "example.test",
    "ZXhhbXBsZS50ZXN0",
    "==",
    "<user>",
    "</user>",
    "<![CDATA[",
    "]]>",
    "<!DOCTYPE a [<!ENTITY b \"c\">]>",
    "&b;",
    "&#0;",
    "<!--",
    "xmlns=\"",
    "<homeCluster>",
    "<processNodeRole>",
    "service_name=_cisco-uds&",
];

/// The same verdict and the same bytes however the stream is cut, and nothing made up.
pub(crate) fn framing(data: &[u8]) {
    let (whole, verdict) = framed(data, usize::MAX);
    assert!(data.starts_with(&whole), "bytes that did not come in");
    for size in [1, 2, 5, 64] {
        let (cut, other) = framed(data, size);
        assert_eq!(other, verdict, "cut in pieces of {size}");
        if verdict.is_none() {
            assert_eq!(cut, whole, "cut in pieces of {size}");
        }
    }
}

fn framed(data: &[u8], size: usize) -> (Vec<u8>, Option<u16>) {
    let (mut framing, mut out) = (Framing::default(), Vec::new());
    for piece in data.chunks(size.min(data.len().max(1))) {
        if let Err(violation) = framing.feed(piece, &mut out) {
            assert!(
                (400..600).contains(&violation.status),
                "{violation:?} is no refusal"
            );
            return (out, Some(violation.status));
        }
    }
    (out, None)
}

/// A segment that is read is written so that it reads the same.
pub(crate) fn edge_path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for segment in text.split('/') {
        if let Ok(path) = EdgePath::decode(segment) {
            let again = EdgePath::encode(&path.domain, path.server.as_ref());
            assert_eq!(EdgePath::decode(&again).as_ref(), Ok(&path));
            path.server.iter().for_each(judged);
        }
    }
    if let Ok(csv) = config::allow_list::read_csv(text) {
        let again = config::allow_list::read_csv(&config::allow_list::csv(&csv.rules));
        assert_eq!(again.map(|c| c.rules), Ok(csv.rules));
    }
    let encoded = EdgePath::encode(text, None);
    if let Ok(path) = EdgePath::decode(&encoded) {
        let same = EdgePath::encode(&path.domain, path.server.as_ref());
        assert_eq!(EdgePath::decode(&same), Ok(path));
    }
    let _ = edge_config::services_asked(text);
    assert!(uds::percent_encode(text).is_ascii());
}

/// A server that was read passes by the rule that names it and by no other, and has one spelling.
fn judged(server: &Server) {
    let rule = |host: &str| Rule {
        scheme: server.scheme.as_str().into(),
        host: host.into(),
        port: server.port,
        path: "/a".into(),
        exact: false,
        methods: vec!["GET".into()],
        tls_verify: true,
        proxy_protocol: false,
        origin: Origin::Configured,
        description: String::new(),
    };
    let access = Access {
        scheme: server.scheme.as_str(),
        host: &server.host,
        port: server.port,
        path: "/a/b",
        method: "GET",
    };
    assert_eq!(
        config::allow_list::plain_host(&server.host).as_ref(),
        Ok(&server.host)
    );
    let own = AllowList::new(vec![rule(&server.host)]);
    assert_ne!(own.check(&access), Verdict::Deny);
    let others =
        ["192.0.2.77", "other.invalid"].map(|host| (host != server.host).then(|| rule(host)));
    let others = AllowList::new(others.into_iter().flatten().collect());
    assert_eq!(others.check(&access), Verdict::Deny);
}

/// Answers of UDS and AXL.
pub(crate) fn documents(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let _ = (
        uds::cluster_user(text),
        uds::servers(text),
        uds::user(text),
        uds::devices(text),
    );
    for status in [200, 401, 500] {
        let _ = axl::process_nodes(status, text);
    }
}

/// No token verifies that the key did not sign.
pub(crate) fn token(data: &[u8]) {
    let Some(key) = TokenKey::from_seed(&[7; 32]) else {
        panic!("the seed makes no key")
    };
    let public = key.public();
    let now = UnixTime::from_millis(1_700_000_000_000);
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(
            public.verify(now, text).is_err(),
            "a token that was never issued"
        );
        let _ = PublicKey::from_hex(text);
    }
    let user = String::from_utf8_lossy(data.get(..40).unwrap_or(data)).into_owned();
    let issued = key.issue(now, &mut base::Rng::from_number(1), &user, "example.test");
    assert!(
        public.verify(now, &issued).is_ok(),
        "our own token does not verify"
    );
    let mut forged = issued.into_bytes();
    let at = data.len() % forged.len();
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8_lossy(&forged).into_owned();
    assert!(
        public.verify(now, &forged).is_err(),
        "a token with character {at} changed"
    );
}
