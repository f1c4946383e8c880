//! The telephone inside: registers at Unified CM over TCP, answers whoever calls, plays its tone.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use super::agent::{Agent, Profile};
use super::stack::{Door, Setup, Stack};
use crate::ladder::Recorder;

/// The tone that it plays.
pub(crate) const HZ: f64 = 880.0;

/// What it is to be.
pub(crate) struct Config {
    /// Its number.
    pub(crate) extension: String,
    /// The domain of its address.
    pub(crate) domain: String,
    /// Its own SIP address, TCP.
    pub(crate) sip: SocketAddr,
    /// Where it registers.
    pub(crate) unified_cm: SocketAddr,
    /// The device that it says it is, as Unified CM knows it.
    pub(crate) device: Option<String>,
    /// Where it writes what crosses it.
    pub(crate) recorder: Recorder,
}

/// Starts it: listens, registers, and keeps registered until its stack stops.
///
/// # Errors
/// Its port is taken, or Unified CM refuses it.
pub(crate) async fn start(config: Config) -> Result<Agent> {
    let (stack, incoming) = Stack::new(Setup {
        local: config.sip.ip(),
        agent: "Lab-Phone/1.0",
        names: None,
        dialing: None,
        recorder: config.recorder,
    });
    let bound = stack.listen(config.sip, None, Door::default()).await?;
    let profile = Profile {
        extension: config.extension,
        domain: config.domain,
        credentials: None,
        bearer: None,
        device: config.device,
        uplink: (config.unified_cm, None),
        route: None,
        media: config.sip.ip(),
        secure: false,
        hz: HZ,
        port: Some(bound.port()),
    };
    let agent = Agent::start(stack.clone(), incoming, profile);
    let registered = agent.register().await?;
    let refreshing = agent.clone();
    let pause = Duration::from_secs(u64::from(registered.expires_s).max(20) / 2);
    stack.spawn(async move {
        loop {
            tokio::time::sleep(pause).await;
            // Unified CM may be away for a while; the next try finds it again.
            let _ = refreshing.register().await;
        }
    });
    Ok(agent)
}
