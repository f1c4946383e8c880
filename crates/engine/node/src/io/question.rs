//! Questions that tasks and administrators put to a node, and its answers.

use std::net::IpAddr;

use base::{Pii, Secret};
use status::servers::{ServersQuestion, ServersReport};

/// A question to the node.
#[derive(Debug)]
pub enum Question {
    /// On the core: a client asks for `get_edge_config` with these credentials.
    SignIn(SignIn),
    /// On the core: any other request of the edge's own lane.
    Sso(Box<SsoRequest>),
    /// On the core: is this bearer token good? Asked where the snapshot cannot tell.
    Bearer {
        /// The service domain of the path.
        domain: String,
        /// The client as the edge saw it.
        client: Option<IpAddr>,
        /// The token.
        token: Secret<String>,
    },
    /// Where would this request go? Nothing is sent.
    Search(status::SearchQuestion),
    /// On the core: may a client begin a chat stream, after all the wrong passwords from there?
    Chat {
        /// The client.
        client: IpAddr,
    },
    /// On the core: a chat server has refused a client's password. May it try again?
    ChatRefused {
        /// The client.
        client: IpAddr,
        /// Who it said it was, where that can be read.
        user: Option<Pii<String>>,
        /// The domain.
        domain: String,
    },
    /// Sign a user out now.
    SignOut {
        /// The name, as typed or as the directory keeps it.
        user: Pii<String>,
        /// In which domain; in all of them if empty.
        domain: String,
    },
    /// What is known of the inside's servers, or that they be asked.
    Servers(ServersQuestion),
    /// On the core: these configured rules of the allow list count from now on.
    AllowList(Vec<config::AllowRule>),
}

/// A sign-in as it reached the core.
#[derive(Debug)]
pub struct SignIn {
    /// Index of the peer whose lane it came by.
    pub peer: usize,
    /// The client as the edge saw it.
    pub client: Option<IpAddr>,
    /// The service domain of the path.
    pub domain: String,
    /// The user name as typed.
    pub user: Pii<String>,
    /// The password.
    pub password: Secret<String>,
    /// The path and query after the domain's segment, e.g. `get_edge_config?service_name=…`.
    pub target: String,
    /// The client's program, for the list of provisioning sessions.
    pub user_agent: String,
}

/// A request of single sign-on as it reached the core.
#[derive(Debug)]
pub struct SsoRequest {
    /// Index of the peer whose lane it came by.
    pub peer: usize,
    /// The client as the edge saw it.
    pub client: Option<IpAddr>,
    /// The service domain of the path.
    pub domain: String,
    /// The path and query after the domain's segment.
    pub target: String,
    /// What was posted, if the request is a POST.
    pub form: Option<Secret<String>>,
    /// The cookie that binds a log-in to its browser.
    pub cookie: Option<String>,
    /// What the client shows in place of a password.
    pub shown: Shown,
    /// The client's program, for the list of provisioning sessions.
    pub user_agent: String,
}

/// What a client shows in place of a password.
#[derive(Debug)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// A bearer token; our own session tokens may come so, too.
    Bearer(Secret<String>),
    /// Session tokens, as cookies.
    Sessions(Vec<String>),
}

impl Shown {
    /// What may be session tokens of ours.
    pub fn sessions(&self) -> impl Iterator<Item = &str> {
        let (one, more) = match self {
            Shown::Nothing => (None, &[][..]),
            Shown::Bearer(token) => (Some(token.expose().as_str()), &[][..]),
            Shown::Sessions(tokens) => (None, tokens.as_slice()),
        };
        one.into_iter().chain(more.iter().map(String::as_str))
    }
}

/// The node's answer to a [`Question`].
#[derive(Debug)]
pub enum Answer {
    /// To [`Question::SignIn`] and [`Question::Sso`]: the response as it goes back to the client.
    SignIn(Reply),
    /// To [`Question::Bearer`]: the user, or the response as it goes back to the client.
    Bearer(Result<Pii<String>, Reply>),
    /// To [`Question::Search`].
    Search(Box<status::SearchReport>),
    /// To [`Question::Chat`] and [`Question::ChatRefused`].
    Chat(bool),
    /// To [`Question::SignOut`]; an edge signs nobody out.
    SignOut(Option<Box<status::SignOutReport>>),
    /// To [`Question::Servers`].
    Servers(Box<ServersReport>),
    /// To [`Question::AllowList`]: whether they do; an edge has none.
    AllowList(bool),
}

/// An HTTP response made by the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Header fields in order.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}
