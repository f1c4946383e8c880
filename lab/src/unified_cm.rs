//! Unified CM's web side: UDS and AXL over HTTPS 8443, configuration files over HTTP 6970.
//!
//! Every node answers the same, as a cluster does. What they say follows the public UDS and AXL
//! references. The line side (SIP) stands in `sip::unified_cm`.

mod axl;
mod certificate;
mod files;
mod uds;

pub use axl::answer as axl;
pub use certificate::acceptor;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::TlsAcceptor;

use crate::accounts::Accounts;
use crate::changes::Change;
use crate::web;
use crate::world::Host;

/// How long an answer of a slow AXL takes.
const AXL_SLOW: Duration = Duration::from_secs(2);

/// How long one of a slow UDS takes: a sign-in asks for several.
const UDS_SLOW: Duration = Duration::from_millis(500);

/// The realm of every login to Unified CM.
pub const REALM: &str = "Cisco Web Services Realm";

/// Answers for one node; tells the addresses of HTTPS and of files.
///
/// # Errors
/// If an address is taken.
pub async fn start(
    node: &Host,
    https: SocketAddr,
    files: SocketAddr,
    tls: TlsAcceptor,
    accounts: Arc<Accounts>,
) -> io::Result<(SocketAddr, SocketAddr)> {
    let name = node.fqdn.clone();
    let secure = {
        let (name, accounts) = (name.clone(), accounts.clone());
        move |request: web::Request| {
            let first = accounts.world.unified_cm.iter().any(|n| n.fqdn == name);
            let has = |change| first && accounts.world.changes.has(change);
            let uds = request.path.starts_with("/cucm-uds/");
            let answer = if uds && has(Change::UdsBusy) {
                web::Answer::empty(503)
            } else if uds {
                uds::answer(&name, &accounts, &request)
            } else if matches!(request.path.as_str(), "/axl" | "/axl/") {
                axl::answer(&name, &accounts, &request)
            } else {
                web::Answer::empty(404)
            };
            let slow = match uds {
                true if has(Change::UdsSlow) => UDS_SLOW,
                false if has(Change::AxlSlow) => AXL_SLOW,
                _ => Duration::ZERO,
            };
            // Who connects anew is to see the other certificate.
            let closes = accounts.world.changes.has(Change::SelfSigned);
            let answer = if closes {
                answer.with("connection", "close")
            } else {
                answer
            };
            async move {
                tokio::time::sleep(slow).await;
                answer
            }
        }
    };
    let plain = move |request: web::Request| {
        let answer = files::answer(&name, &accounts.world, &request);
        async { answer }
    };
    let https = web::serve(https, Some(tls), secure).await?;
    Ok((https, web::serve(files, None, plain).await?))
}

#[cfg(test)]
mod tests;
