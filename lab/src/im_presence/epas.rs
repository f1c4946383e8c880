//! The clients' SOAP interface: sign-in, configuration, one-time passwords for XMPP.

use http::Method;

use super::Shared;
use crate::soap::{Call, SOAP_1_2, envelope};
use crate::web::{Answer, Request, escaped};
use crate::world::{DOMAIN, User, World};

const NAMESPACE: &str = "urn:cisco:epas:soap";
const KIND: &str = "application/soap+xml;charset=utf-8";

/// The answer to a request below `/EPASSoap/service`.
pub fn answer(shared: &Shared, request: &Request) -> Answer {
    if request.method != Method::POST {
        return Answer::empty(405);
    }
    let Some(call) = Call::read(&request.body).filter(|c| c.operation.ns() == NAMESPACE) else {
        return fault("The request is no envelope of this service.");
    };
    if call.operation.name() == "login" {
        return login(shared, &call);
    }
    let key = call.header("session-key").unwrap_or_default();
    let name = shared.tokens.session_user(&key);
    let Some(user) = name.and_then(|n| shared.accounts.world.user(&n).cloned()) else {
        return answered(&call, &failure("Session does not exist"));
    };
    match call.operation.name() {
        "get-all-config" => answered(&call, &configuration(&user, &shared.accounts.world)),
        "get-onetime-password" => {
            let password = shared.tokens.one_time(&user.name);
            answered(
                &call,
                &format!("<success><password>{password}</password></success>"),
            )
        }
        "logout" => answered(&call, "<success/>"),
        other => fault(&format!("Unknown operation {other}")),
    }
}

fn login(shared: &Shared, call: &Call) -> Answer {
    let name = call.argument("username").unwrap_or_default();
    let password = call.argument("password").unwrap_or_default();
    let name = name.split('@').next().unwrap_or_default();
    let Some(user) = shared.accounts.check(name, &password) else {
        return answered(call, &failure("Authentication failed"));
    };
    let key = shared.tokens.session(&user.name);
    answered(
        call,
        &format!(
            "<success><session-key>{key}</session-key><server-version>12.5.1</server-version>\
         <jid>{}</jid></success>",
            user.jid()
        ),
    )
}

fn failure(text: &str) -> String {
    format!(
        "<failure><error-code>1</error-code><error-text>{}</error-text></failure>",
        escaped(text)
    )
}

fn configuration(user: &User, world: &World) -> String {
    let property =
        |name: &str, value: &str| format!("<property name=\"{name}\">{value}</property>");
    let primary = world
        .im_presence
        .first()
        .map(|n| n.fqdn.as_str())
        .unwrap_or_default();
    let system = [
        property("Presence.Domain", DOMAIN),
        property("Presence.Server", primary),
        property("IM.Port", "5222"),
    ];
    let own = [
        property("User.Jid", &user.jid()),
        property("User.DisplayName", &escaped(&user.display())),
    ];
    format!(
        "<get-system-config-resp>{}</get-system-config-resp><get-user-config-resp>{}\
         </get-user-config-resp><get-federated-domains-resp/>\
         <get-non-presence-aware-contacts-resp/><get-contact-info-resp/>",
        system.concat(),
        own.concat()
    )
}

fn answered(call: &Call, inner: &str) -> Answer {
    let name = call.operation.name();
    let inner = format!("<{name}-resp xmlns=\"{NAMESPACE}\">{inner}</{name}-resp>");
    Answer::new(200, KIND, envelope(&call.envelope, &inner))
}

fn fault(text: &str) -> Answer {
    let inner = format!(
        "<soapenv:Fault><soapenv:Code><soapenv:Value>soapenv:Sender</soapenv:Value>\
         </soapenv:Code><soapenv:Reason><soapenv:Text xml:lang=\"en\">{}</soapenv:Text>\
         </soapenv:Reason></soapenv:Fault>",
        escaped(text)
    );
    Answer::new(500, KIND, envelope(SOAP_1_2, &inner))
}
