//! The telephone side of the inside: call control's line side and a telephone.

use anyhow::{Context, Result};

use super::say;
use crate::authority::Authority;
use crate::command;
use crate::ladder::Recorder;
use crate::sip::agent::Agent;
use crate::sip::phone;
use crate::sip::unified_cm::{Config, Line, UnifiedCm};
use crate::world::{DNS_INSIDE, DOMAIN, PHONE_EXTENSION, User, World};

/// What runs, for whoever wants to see what it saw.
pub struct Telephony {
    /// The simulated line side, unless a real server stands in its place.
    pub call_control: Option<UnifiedCm>,
    /// The telephone inside, unless the real server does not let it register.
    pub phone: Option<Agent>,
    /// What crossed them.
    pub recorder: Recorder,
}

impl Telephony {
    /// Starts the line side, unless a real server is given, and the telephone.
    ///
    /// # Errors
    /// If an address is taken, or the disk's.
    pub async fn start(
        world: &World,
        authority: &Authority,
        options: &command::House,
    ) -> Result<Telephony> {
        let recorder = Recorder::new("call control");
        let call_control = match options.call_control {
            Some(_) => None,
            None => Some(line_side(world, authority, &recorder).await?),
        };
        let node = world.unified_cm.first().context("a lab has a Unified CM")?;
        let started = phone::start(phone::Config {
            extension: PHONE_EXTENSION.into(),
            domain: DOMAIN.into(),
            sip: world.phone.port(5060),
            unified_cm: options.call_control.unwrap_or_else(|| node.port(5060)),
            recorder: recorder.of("phone"),
        });
        let phone = match (started.await, options.call_control) {
            (Ok(phone), _) => Some(phone),
            (Err(e), Some(address)) => {
                say(&format!(
                    "the telephone inside cannot register at {address}: {e:#}"
                ));
                None
            }
            (Err(e), None) => return Err(e.context("the telephone inside")),
        };
        Ok(Telephony {
            call_control,
            phone,
            recorder,
        })
    }
}

async fn line_side(world: &World, authority: &Authority, recorder: &Recorder) -> Result<UnifiedCm> {
    let node = world.unified_cm.first().context("a lab has a Unified CM")?;
    let user = |user: &User| Line {
        extension: user.extension.clone(),
        device: Some(user.device.clone()),
        display: user.display(),
        user: None,
    };
    let phone = Line {
        extension: PHONE_EXTENSION.into(),
        device: None,
        display: "Phone inside".into(),
        user: None,
    };
    let issued = authority.issue(&[&node.fqdn], node.address)?;
    let config = Config {
        name: node.fqdn.clone(),
        sip: node.port(5060),
        sip_tls: Some((node.port(5061), issued.server()?)),
        dialing: Some(authority.client()?),
        dns: Some(DNS_INSIDE),
        lines: world.users.iter().map(user).chain([phone]).collect(),
        digest: false,
        recorder: recorder.clone(),
    };
    UnifiedCm::start(config)
        .await
        .with_context(|| node.fqdn.clone())
}
