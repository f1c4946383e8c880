//! The servers inside, started in this process.

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use super::{Ports, say};
use crate::accounts::Accounts;
use crate::authority::Authority;
use crate::client::trust;
use crate::command::Mistake;
use crate::dns::Zone;
use crate::ladder::Recorder;
use crate::sip::agent::Agent;
use crate::sip::phone;
use crate::sip::unified_cm::{Config, Line, Manners, UnifiedCm};
use crate::world::{DNS, DNS_INSIDE, DOMAIN, Host, PHONE_EXTENSION, SECURITY_PROFILE, World};
use crate::{command, dns, file, identity, im_presence, pages, unified_cm, unity};

/// The station throttle of a Unified CM that serves remote devices (its default is a fifth of it).
const THROTTLE_BYTES_PER_S: u32 = 750_000;
/// What a region that nobody changed allows a video call.
const REGION_KBPS: u32 = 384;

/// What runs inside and can be asked or told something.
pub struct Inside {
    /// The identity provider.
    pub provider: identity::Provider,
    /// The line side of Unified CM, if no real call control stands in its place.
    pub line_side: Option<UnifiedCm>,
    /// That of the other cluster.
    pub other_line_side: Option<UnifiedCm>,
    /// The telephone, if call control takes its registration.
    pub phone: Option<Agent>,
    /// What crossed line side, telephone and whoever else the lab plays.
    pub recorder: Recorder,
    web_side: WebSide,
}

impl Inside {
    /// Unified CM's UDS, AXL and file servers die, connections and all.
    pub fn darken(&mut self) {
        self.web_side.stop();
    }

    /// They live again.
    ///
    /// # Errors
    /// An address was taken meanwhile.
    pub async fn light(&mut self) -> Result<()> {
        self.web_side.start().await
    }
}

/// Unified CM's web servers, in a runtime of their own so that they can die alone.
struct WebSide {
    nodes: Vec<(Host, TlsAcceptor)>,
    accounts: Arc<Accounts>,
    runtime: Option<Runtime>,
}

impl WebSide {
    async fn start(&mut self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("unified-cm")
            .enable_all()
            .build()?;
        for (node, tls) in self.nodes.clone() {
            let (https, files) = (node.port(8443), node.port(6970));
            let (name, accounts) = (node.fqdn.clone(), self.accounts.clone());
            let starting = runtime
                .spawn(async move { unified_cm::start(&node, https, files, tls, accounts).await });
            starting.await?.with_context(|| name)?;
        }
        self.runtime = Some(runtime);
        Ok(())
    }

    fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for WebSide {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts all that no real server replaces.
///
/// # Errors
/// If an address is taken, or the disk's.
pub async fn start(
    world: &Arc<World>,
    authority: &Authority,
    ports: &Ports,
    options: &command::House,
) -> Result<Inside> {
    dns::serve(DNS, Zone::outside(world))
        .await
        .context("the public name server")?;
    dns::serve(DNS_INSIDE, Zone::inside(world))
        .await
        .context("the inside name server")?;
    let accounts = Arc::new(Accounts::new(world.clone()));
    let mut web_side = WebSide {
        nodes: Vec::new(),
        accounts: accounts.clone(),
        runtime: None,
    };
    for node in world.unified_cm.iter().chain(&world.other_cluster) {
        let issued = authority.issue(&[&node.fqdn], node.address)?;
        let tls = match world.cluster_of(&node.fqdn) == world.unified_cm {
            true => unified_cm::acceptor(node, &issued, &world.changes)?,
            false => issued.acceptor()?,
        };
        web_side.nodes.push((node.clone(), tls));
    }
    web_side.start().await?;
    let stranger = Authority::new(&authority.folder("elsewhere")?)?;
    for node in &world.im_presence {
        let foreign = world.mistakes.contains(&Mistake::ForeignCertificate);
        let issuer = if foreign { &stranger } else { authority };
        let tls = issuer
            .issue(&[&node.fqdn, DOMAIN], node.address)?
            .acceptor()?;
        let xmpp = options.xmpp.is_none().then(|| node.port(5222));
        let started = im_presence::start(node.port(8443), xmpp, tls, accounts.clone()).await;
        started.with_context(|| node.fqdn.clone())?;
    }
    let tls = authority
        .issue(&[&world.unity.fqdn], world.unity.address)?
        .acceptor()?;
    unity::start(ports.unity, tls, accounts.clone())
        .await
        .context("voicemail")?;
    let provider = identity::Provider::new(
        &world.identity.fqdn,
        &world.identity_secret,
        accounts.clone(),
    )?;
    let tls = authority
        .issue(&[&world.identity.fqdn], world.identity.address)?
        .acceptor()?;
    provider
        .serve(world.identity.port(identity::PORT), tls)
        .await
        .context("the identity provider")?;
    pages::start_allowed(world.allowed_web.port(8080))
        .await
        .context("the allowed page")?;
    pages::start_forbidden(world.forbidden_web.port(8080))
        .await
        .context("the forbidden server")?;
    let recorder = Recorder::new("inside");
    let (line_side, other_line_side) = match options.call_control {
        None => (
            Some(line_side(&accounts, &world.unified_cm, authority, &recorder).await?),
            Some(line_side(&accounts, &world.other_cluster, authority, &recorder).await?),
        ),
        Some(_) => (None, None),
    };
    let phone = telephone(world, options, &recorder).await;
    if let (Err(e), Some(_), []) = (&phone, &line_side, world.mistakes.as_slice()) {
        anyhow::bail!("the telephone inside: {e:#}");
    }
    let phone = phone
        .inspect_err(|e| say(&format!("the telephone inside is not registered: {e:#}")))
        .ok();
    Ok(Inside {
        provider,
        line_side,
        other_line_side,
        phone,
        recorder,
        web_side,
    })
}

/// The simulated line side of a cluster: the devices of who is at home there, and, in the first
/// one, the telephone.
async fn line_side(
    accounts: &Accounts,
    cluster: &[Host],
    authority: &Authority,
    recorder: &Recorder,
) -> Result<UnifiedCm> {
    let world = &accounts.world;
    let node = cluster.first().context("a lab has call control")?;
    let issued = authority.issue(&[&node.fqdn], node.address)?;
    let mixed = world.mixed_mode || cluster != world.unified_cm;
    let tls = if mixed {
        issued.mutual(&authority.certificate)?
    } else {
        issued.acceptor()?
    };
    let of_user = |user: &crate::world::User| Line {
        extension: user.extension.clone(),
        devices: vec![user.device.clone(), user.desk_phone()],
        display: user.display(),
        user: Some((user.name.clone(), user.password.clone())),
    };
    let at_home = world.users.iter().filter(|u| world.is_home(&node.fqdn, u));
    let mut lines: Vec<Line> = at_home.map(of_user).collect();
    if cluster == world.unified_cm {
        lines.push(Line {
            extension: PHONE_EXTENSION.into(),
            devices: Vec::new(),
            display: "Telephone Inside".into(),
            user: None,
        });
    }
    let config = Config {
        name: node.fqdn.clone(),
        sip: node.port(5060),
        sip_tls: Some((node.port(5061), tls.config().clone())),
        dialing: Some(trust(&authority.certificate)?),
        dns: Some(DNS_INSIDE),
        lines,
        digest: false,
        bearers: accounts.bearers.clone(),
        manners: manners(world, mixed),
        recorder: recorder.clone(),
    };
    UnifiedCm::start(config).await.context("the line side")
}

/// How Unified CM is set up, mistakes and all.
fn manners(world: &World, mixed: bool) -> Manners {
    let has = |mistake| world.mistakes.contains(&mistake);
    Manners {
        security_profiles: mixed.then(|| SECURITY_PROFILE.into()).into_iter().collect(),
        throttle_bytes_per_s: Some(THROTTLE_BYTES_PER_S),
        trunk_on_line_port: has(Mistake::TrunkOnLinePort),
        region_kbps: has(Mistake::RegionLimit).then_some(REGION_KBPS),
        changes: world.changes.clone(),
    }
}

async fn telephone(world: &World, options: &command::House, recorder: &Recorder) -> Result<Agent> {
    let node = world.unified_cm.first().context("a lab has call control")?;
    let config = phone::Config {
        extension: PHONE_EXTENSION.into(),
        domain: DOMAIN.into(),
        sip: world.phone.port(5060),
        unified_cm: options.call_control.unwrap_or_else(|| node.port(5060)),
        device: None,
        recorder: recorder.clone(),
    };
    phone::start(config).await
}

/// What `lab.json` says about the inside.
pub fn described(world: &World, ports: &Ports, options: &command::House) -> file::Inside {
    let unified_cm = |node: &Host| file::UnifiedCm {
        name: node.fqdn.clone(),
        https: node.port(8443),
        files: node.port(6970),
        sip: options.call_control.unwrap_or_else(|| node.port(5060)),
        sip_tls: node.port(5061),
    };
    file::Inside {
        unified_cm: world.unified_cm.iter().map(unified_cm).collect(),
        other_cluster: world.other_cluster.iter().map(unified_cm).collect(),
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
