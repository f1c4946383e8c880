//! IM and presence: sign-in over SOAP and AXL on HTTPS 8443, an XMPP server on 5222.

mod epas;
mod negotiate;
mod router;
mod session;
mod tokens;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;

use self::router::Router;
use self::tokens::Tokens;
use crate::accounts::Accounts;
use crate::web;

/// What the parts of a node share.
struct Shared {
    accounts: Arc<Accounts>,
    tokens: Tokens,
    router: Router,
    tls: TlsAcceptor,
}

/// Answers for a node: HTTPS at one address and, unless a real server does, XMPP at the other;
/// tells the addresses it got.
///
/// # Errors
/// If an address is taken.
pub async fn start(
    https: SocketAddr,
    xmpp: Option<SocketAddr>,
    tls: TlsAcceptor,
    accounts: Arc<Accounts>,
) -> io::Result<(SocketAddr, Option<SocketAddr>)> {
    let router = Router::new(accounts.world.clone());
    let shared = Arc::new(Shared {
        accounts,
        tokens: Tokens::default(),
        router,
        tls: tls.clone(),
    });
    let answering = shared.clone();
    let answer = move |request: web::Request| {
        let answer = if matches!(request.path.as_str(), "/axl" | "/axl/") {
            crate::unified_cm::axl("", &answering.accounts, &request)
        } else if request.path.starts_with("/EPASSoap/service") {
            epas::answer(&answering, &request)
        } else {
            web::Answer::empty(404)
        };
        async { answer }
    };
    let https = web::serve(https, Some(tls), answer).await?;
    let xmpp = match xmpp {
        Some(address) => Some(negotiate::serve(address, shared).await?),
        None => None,
    };
    Ok((https, xmpp))
}

#[cfg(test)]
mod tests;
