//! Unity Connection: its version and a user's mailbox over REST (HTTPS).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Method;
use tokio_rustls::TlsAcceptor;

use crate::accounts::Accounts;
use crate::web::{self, Answer, Request, escaped};
use crate::world::{PHONE_EXTENSION, User};

const REALM: &str = "Cisco Web Services Realm";
const VERSION: &str = "12.5.1.11900-57";

/// Answers until the runtime ends; tells the address it got.
///
/// # Errors
/// If the address is taken.
pub async fn start(
    address: SocketAddr,
    tls: TlsAcceptor,
    accounts: Arc<Accounts>,
) -> io::Result<SocketAddr> {
    let answer = move |request: Request| {
        let answer = answer(&accounts, &request);
        async { answer }
    };
    web::serve(address, Some(tls), answer).await
}

fn answer(accounts: &Accounts, request: &Request) -> Answer {
    let Some(path) = request.path.strip_prefix("/vmrest/") else {
        return Answer::empty(404);
    };
    let login = request.basic();
    let user = login
        .as_ref()
        .and_then(|(name, password)| accounts.check(name, password));
    let administers = login.is_some_and(|(n, p)| accounts.is_administrator(&n, &p));
    if user.is_none() && !administers {
        return Answer::unauthorized(REALM);
    }
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return Answer::empty(405);
    }
    let json = request
        .headers
        .get("accept")
        .is_some_and(|a| a.to_str().is_ok_and(|a| a.contains("application/json")));
    let path = path.trim_end_matches('/');
    match (path, user) {
        ("version" | "version/product", _) if json => Answer::new(
            200,
            "application/json;charset=UTF-8",
            format!("{{\"name\":\"Cisco Unity Connection\",\"version\":\"{VERSION}\"}}"),
        ),
        ("version" | "version/product", _) => Answer::xml(
            200,
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?><VersionInformation>\
             <name>Cisco Unity Connection</name><version>{VERSION}</version>\
             </VersionInformation>"
            ),
        ),
        ("cluster", _) if administers => {
            let name = &accounts.world.unity.fqdn;
            let row = format!("<VmsServer><HostName>{name}</HostName></VmsServer>");
            Answer::xml(200, format!("<VmsServers total=\"1\">{row}</VmsServers>"))
        }
        ("mailbox/folders/inbox/messages" | "messages", Some(user)) => {
            let message = Message::greeting(user);
            if json {
                Answer::new(200, "application/json;charset=UTF-8", message.json())
            } else {
                Answer::xml(200, message.xml())
            }
        }
        ("mailbox", Some(user)) => Answer::xml(
            200,
            format!(
                "<Mailbox><DisplayName>{}</DisplayName><CurrentSizeInBytes>1024\
                 </CurrentSizeInBytes>\
             <IsPrimary>true</IsPrimary></Mailbox>",
                escaped(&user.display())
            ),
        ),
        _ => Answer::empty(404),
    }
}

/// The one message in everybody's inbox.
struct Message {
    id: String,
    subject: String,
}

impl Message {
    fn greeting(user: &User) -> Message {
        Message {
            id: format!("0:{}", user.id),
            subject: format!("Welcome, {}", user.first),
        }
    }

    fn xml(&self) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?><Messages total=\"1\">\
             <Message><Subject>{}</Subject><Read>false</Read><Dispatch>false</Dispatch><Secure>\
             false</Secure><Priority>Normal</Priority><Sensitivity>Normal</Sensitivity>\
             <URI>/vmrest/messages/{id}</URI><MsgId>{id}</MsgId><From><CallerNumber>\
             {PHONE_EXTENSION}</CallerNumber></From><MsgType>Voice</MsgType><Duration>4000\
             </Duration></Message></Messages>",
            escaped(&self.subject),
            id = self.id,
        )
    }

    fn json(&self) -> String {
        serde_json::json!({"@total": "1", "Message": {
            "Subject": self.subject, "Read": "false", "Priority": "Normal",
            "URI": format!("/vmrest/messages/{}", self.id), "MsgId": self.id,
            "From": {"CallerNumber": PHONE_EXTENSION}, "MsgType": "Voice", "Duration": "4000",
        }})
        .to_string()
    }
}
