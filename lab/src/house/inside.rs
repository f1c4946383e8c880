//! The servers inside, started in this process.

use std::sync::Arc;

use anyhow::{Context, Result};

use super::Ports;
use crate::accounts::Accounts;
use crate::authority::Authority;
use crate::dns::Zone;
use crate::world::{DNS, DNS_INSIDE, DOMAIN, PHONE_EXTENSION, World};
use crate::{command, dns, file, im_presence, pages, unified_cm, unity};

/// Starts all that no real server replaces.
///
/// # Errors
/// If an address is taken, or the disk's.
pub async fn start(
    world: &Arc<World>,
    authority: &Authority,
    ports: &Ports,
    options: &command::House,
) -> Result<()> {
    dns::serve(DNS, Zone::outside(world))
        .await
        .context("the public name server")?;
    dns::serve(DNS_INSIDE, Zone::inside(world))
        .await
        .context("the inside name server")?;
    let accounts = Arc::new(Accounts::new(world.clone()));
    for node in &world.unified_cm {
        let tls = authority.issue(&[&node.fqdn], node.address)?.acceptor()?;
        let (https, files) = (node.port(8443), node.port(6970));
        let started = unified_cm::start(node, https, files, tls, accounts.clone()).await;
        started.with_context(|| node.fqdn.clone())?;
    }
    for node in &world.im_presence {
        let tls = authority
            .issue(&[&node.fqdn, DOMAIN], node.address)?
            .acceptor()?;
        let xmpp = options.xmpp.is_none().then(|| node.port(5222));
        let started = im_presence::start(node.port(8443), xmpp, tls, accounts.clone()).await;
        started.with_context(|| node.fqdn.clone())?;
    }
    let tls = authority
        .issue(&[&world.unity.fqdn], world.unity.address)?
        .acceptor()?;
    unity::start(ports.unity, tls, accounts)
        .await
        .context("voicemail")?;
    pages::start_allowed(world.allowed_web.port(8080))
        .await
        .context("the allowed page")?;
    pages::start_forbidden(world.forbidden_web.port(8080))
        .await
        .context("the forbidden server")?;
    Ok(())
}

/// What `lab.json` says about the inside.
pub fn described(world: &World, ports: &Ports, options: &command::House) -> file::Inside {
    file::Inside {
        unified_cm: world
            .unified_cm
            .iter()
            .map(|node| file::UnifiedCm {
                name: node.fqdn.clone(),
                https: node.port(8443),
                files: node.port(6970),
                sip: options.call_control.unwrap_or_else(|| node.port(5060)),
                sip_tls: node.port(5061),
            })
            .collect(),
        im_presence: world
            .im_presence
            .iter()
            .map(|node| file::ImPresence {
                name: node.fqdn.clone(),
                https: node.port(8443),
                xmpp: options.xmpp.unwrap_or_else(|| node.port(5222)),
            })
            .collect(),
        unity: vec![file::Unity {
            name: world.unity.fqdn.clone(),
            https: ports.unity,
        }],
        phone: file::Phone {
            extension: PHONE_EXTENSION.into(),
            sip: world.phone.port(5060),
        },
        allowed_web: format!("http://{}/", world.allowed_web.port(8080)),
        forbidden_web: format!("http://{}/", world.forbidden_web.port(8080)),
    }
}
