//! The house: everything a lab consists of, started in order, and stopped together.
//!
//! The servers inside run in this process, edges and cores as processes of the real program. Start
//! is complete when every link between edge and core is up and every door answers.

mod addresses;
mod folder;
mod inside;
mod process;
mod program;
mod ready;
mod settings;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;

use self::folder::Folder;
use self::process::Node;
pub use self::process::become_child;
pub use self::ready::status;
use crate::authority::Authority;
use crate::changes::Changes;
use crate::command::{self, Mistake};
use crate::file::{self, LabFile};
use crate::world::{DNS, DNS_INSIDE, DOMAIN, World};

/// Says what is being done, on standard error.
pub fn say(text: &str) {
    crate::terminal::remark(&format!("  {text}"));
}

/// A lab that runs.
pub struct House {
    /// What it tells other programs.
    pub file: LabFile,
    /// Its folder.
    pub dir: PathBuf,
    /// What runs inside.
    pub inside: inside::Inside,
    /// What has changed there.
    pub changes: Changes,
    nodes: Vec<Node>,
    folder: Folder,
}

impl House {
    /// The product's binary for [`House::start`], built first if need be.
    ///
    /// # Errors
    /// If it does not build, or `CAUSEWAY` names no file.
    pub async fn program() -> Result<PathBuf> {
        program::find().await
    }

    /// Starts everything, with that binary for edges and cores, and waits until it answers.
    ///
    /// # Errors
    /// What is missing or in the way, with what to do about it; nothing is left running.
    pub async fn start(program: PathBuf, options: &command::House) -> Result<House> {
        let mut world = World::new(&options.size());
        world.line_side = options.call_control.is_none();
        world.mistakes = options.mistakes.clone();
        world.mixed_mode = options.mixed_mode || world.mistakes.contains(&Mistake::ProfileMissing);
        let world = Arc::new(world);
        // First of all: the folder may be that of another lab that runs.
        let ports = addresses::claim(&world, options)?;
        let folder = Folder::open(options.dir.as_deref())?;
        let dir = folder.path.clone();
        world.changes.follow(&dir);
        world.changes.set(&options.changes)?;
        let authority = Authority::new(&dir)?;
        say("starting name servers, call control, chat, voicemail and web servers inside");
        let started = inside::start(&world, &authority, &ports, options).await?;
        let plan = settings::Plan {
            dir: &dir,
            world: &world,
            authority: &authority,
            ports: &ports,
            provider: &started.provider,
        };
        let (edges, cores) = (plan.edges(&program)?, plan.cores(&program, options)?);
        let mut house = House {
            file: LabFile {
                version: file::VERSION,
                domain: DOMAIN.into(),
                dns: DNS,
                dns_inside: DNS_INSIDE,
                ca: authority.certificate.clone(),
                program,
                pid: std::process::id(),
                edges,
                cores,
                inside: inside::described(&world, &ports, options),
                users: world.users.iter().map(|u| described(&world, u)).collect(),
                administrator: file::Administrator {
                    name: world.administrator.clone(),
                    password: world.administrator_password.clone(),
                    token: world.administrator_token.clone(),
                },
            },
            dir,
            inside: started,
            changes: world.changes.clone(),
            nodes: Vec::new(),
            folder,
        };
        match house.start_nodes(options).await {
            Ok(()) => Ok(house),
            Err(e) => {
                house.keep_folder();
                house.stop().await;
                Err(e)
            }
        }
    }

    async fn start_nodes(&mut self, options: &command::House) -> Result<()> {
        say(&format!("starting {}", options.size().nodes()));
        for edge in &mut self.file.edges {
            let node = Node::start(&edge.name, &edge.start, &edge.config, &edge.log)?;
            edge.pid = node.pid;
            self.nodes.push(node);
        }
        for core in &mut self.file.cores {
            let node = Node::start(&core.name, &core.start, &core.config, &core.log)?;
            core.pid = node.pid;
            self.nodes.push(node);
        }
        ready::wait(&self.file, &mut self.nodes, options).await
    }

    /// Waits until an edge or a core ends by itself, and says which and how.
    pub async fn ended(&mut self) -> String {
        process::first_ended(&mut self.nodes).await
    }

    /// Stops edges and cores in good order, by force after five seconds, and removes the folder if
    /// it was a temporary one.
    pub async fn stop(mut self) {
        process::stop(&mut self.nodes).await;
    }

    /// What the node with that configuration tells of itself.
    ///
    /// # Errors
    /// It does not run, or does not answer.
    pub async fn status(&self, config: &std::path::Path) -> Result<serde_json::Value> {
        ready::status(&self.file.program, config).await
    }

    /// Keeps a temporary folder after the end, for whoever looks for a reason.
    pub fn keep_folder(&mut self) {
        self.folder.keep();
    }
}

fn described(world: &World, user: &crate::world::User) -> file::User {
    file::User {
        name: user.name.clone(),
        password: user.password.clone(),
        device: user.device.clone(),
        extension: user.extension.clone(),
        jid: user.jid(),
        sip: user.sip(),
        home: world.home_of(user).to_owned(),
    }
}

/// Where the movable doors of this lab are.
pub struct Ports {
    /// Of edges' and cores' administration: 443, or 10443 for a user who may not have that.
    pub administration: u16,
    /// Voicemail's: 443 or 10444.
    pub unity: SocketAddr,
}
