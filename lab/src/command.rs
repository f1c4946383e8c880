//! The command line: what the lab can be told to do.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::changes::Change;
use crate::world::{NODES_MAX, Size, USERS_MAX, USERS_MIN};

/// Runs edge, core, the servers inside and clients outside on this machine.
///
/// Without a command: the tour. It starts everything on loopback addresses, lets a remote client
/// sign in, register, call, chat and read the directory through a real edge and a real core, shows
/// what crossed each node, and stops everything.
#[derive(Parser)]
#[command(name = "lab", bin_name = "cargo lab", version, max_term_width = 100)]
pub struct Lab {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    tour: Tour,
}

/// The tour's own options.
#[derive(Args, Clone)]
pub struct Tour {
    /// Print one JSON object with the steps at the end and nothing else
    #[arg(long)]
    pub json: bool,
    /// Leave everything running after the tour, to look around, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    #[command(flatten)]
    pub house: House,
}

#[derive(Subcommand)]
enum Command {
    /// Start everything and stay; `DIR/lab.json` appears when all answers
    Serve(Serve),
    /// Call somebody as one of the users, with sound both ways, in a lab that runs
    Call(Call),
    /// Send a chat message as one of the users, in a lab that runs
    Message(Message),
    /// Sign in as one of the users and show what the client learns, in a lab that runs
    Signin(Signin),
    /// Change something at the servers inside, as their administrators would, in a lab that runs
    Change(ChangeNow),
    /// Make each mistake of an administrator in a lab of its own, and show what is said of it
    Mistakes(Mistakes),
    /// Become another program that dies with the lab (the lab itself uses it)
    #[command(hide = true)]
    Child {
        /// The process to die with
        parent: i32,
        /// The program and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        argv: Vec<std::ffi::OsString>,
    },
}

/// What to start.
#[derive(Args, Clone)]
pub struct House {
    /// Where configurations, certificates, data and logs go; a fresh temporary folder by default
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// How many edges to start, at 127.0.1.1 and following
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=NODES_MAX as i64))]
    pub edges: u16,
    /// How many cores to start, at 127.0.2.1 and following; each dials every edge
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=NODES_MAX as i64))]
    pub cores: u16,
    /// How many users there are: alice 1001, bob 1002, carol 1003 …
    #[arg(long, value_name = "N", default_value_t = USERS_MIN as u16,
        value_parser = clap::value_parser!(u16).range(USERS_MIN as i64..=USERS_MAX as i64))]
    pub users: u16,
    /// Real call control, by SIP over TCP, in place of the simulated line side
    #[arg(long, value_name = "HOST:PORT", value_parser = literal)]
    pub call_control: Option<SocketAddr>,
    /// Put Unified CM's cluster into mixed mode: its TLS line port takes who shows a phone
    /// security profile's name
    #[arg(long)]
    pub mixed_mode: bool,
    /// Set something up wrongly, to see what the product says; may be given more than once
    #[arg(long = "mistake", value_name = "NAME", value_enum)]
    pub mistakes: Vec<Mistake>,
    /// Begin with a change at the servers inside; `cargo lab change` makes others later
    #[arg(long = "change", value_name = "NAME", value_enum)]
    pub changes: Vec<Change>,
    /// A real XMPP server in place of the simulated one
    #[arg(long, value_name = "HOST:PORT", value_parser = literal)]
    pub xmpp: Option<SocketAddr>,
}

/// What administrators get wrong, each as the product's documents name it. `cargo lab serve
/// --mistake NAME` shows what the product says to it.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Some nodes of Unified CM do not find users of other clusters: the lookup service (ILS) is
    /// missing, and sign-in fails now and then with 401 (F339)
    LookupMissing,
    /// A SIP trunk takes what comes to the line port: no device registers (F342)
    TrunkOnLinePort,
    /// The core's certificate lacks the phone security profile's name: no secure device registers
    /// (F343)
    ProfileMissing,
    /// IM and presence answers every bind with 409: the sync agent is down (F344, F345)
    BindConflict,
    /// Unity Connection is not on the allow list: voicemail is refused with 403 (F346)
    VoicemailNotAllowed,
    /// The IM and presence server's certificate is of an authority that the core does not trust
    /// (F349)
    ForeignCertificate,
    /// A region allows video calls 384 kbit/s (F341)
    RegionLimit,
    /// The account of the core lacks the role Standard AXL API Access (F126)
    NoAxlRole,
}

impl House {
    /// How big the world is to be.
    pub fn size(&self) -> Size {
        Size {
            edges: self.edges.into(),
            cores: self.cores.into(),
            users: self.users.into(),
        }
    }
}

/// `cargo lab serve`.
#[derive(Args, Clone)]
pub struct Serve {
    /// Print `lab.json` on standard output when all answers, and nothing else there
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub house: House,
}

/// `cargo lab call`.
#[derive(Args, Clone)]
pub struct Call {
    /// The folder of the lab that runs
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Who calls
    #[arg(long, value_name = "USER", default_value = "alice")]
    pub from: String,
    /// The number to call
    #[arg(long, value_name = "NUMBER", default_value = crate::world::PHONE_EXTENSION)]
    pub to: String,
    /// How long to talk
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    pub seconds: u64,
    /// Print one JSON object and nothing else
    #[arg(long)]
    pub json: bool,
}

/// `cargo lab message`.
#[derive(Args, Clone)]
pub struct Message {
    /// The folder of the lab that runs
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Who writes
    #[arg(long, value_name = "USER", default_value = "alice")]
    pub from: String,
    /// Who reads
    #[arg(long, value_name = "USER", default_value = "bob")]
    pub to: String,
    /// What to say
    #[arg(long, value_name = "TEXT", default_value = "Good morning")]
    pub text: String,
    /// Print one JSON object and nothing else
    #[arg(long)]
    pub json: bool,
}

/// `cargo lab signin`.
#[derive(Args, Clone)]
pub struct Signin {
    /// The folder of the lab that runs
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Who signs in
    #[arg(long, value_name = "USER", default_value = "alice")]
    pub user: String,
    /// Another password than the user's own
    #[arg(long)]
    pub password: Option<String>,
    /// Print one JSON object and nothing else
    #[arg(long)]
    pub json: bool,
}

/// `cargo lab change`.
#[derive(Args, Clone)]
pub struct ChangeNow {
    /// The folder of the lab that runs
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// What is different from the beginning; nothing if none is named
    #[arg(value_name = "NAME", value_enum)]
    pub changes: Vec<Change>,
}

/// `cargo lab mistakes`.
#[derive(Args, Clone)]
pub struct Mistakes {
    /// Print one JSON object and nothing else
    #[arg(long)]
    pub json: bool,
    /// These alone; all of them if none is named
    #[arg(value_name = "NAME", value_enum)]
    pub mistakes: Vec<Mistake>,
}

impl Lab {
    /// Does what the command line says.
    pub async fn run(self) -> ExitCode {
        match self.act().await {
            Ok(code) => code,
            Err(e) => {
                crate::terminal::remark(&format!("error: {e:#}"));
                ExitCode::FAILURE
            }
        }
    }

    async fn act(self) -> Result<ExitCode> {
        match self.command {
            None => crate::tour::run(&self.tour).await,
            Some(Command::Serve(options)) => crate::serve::serve(&options).await,
            Some(Command::Call(options)) => crate::visit::call(&options).await,
            Some(Command::Message(options)) => crate::visit::message(&options).await,
            Some(Command::Signin(options)) => crate::visit::signin(&options).await,
            Some(Command::Mistakes(options)) => crate::mistakes::run(&options).await,
            Some(Command::Change(options)) => crate::changes::run(&options.dir, &options.changes),
            Some(Command::Child { parent, argv }) => {
                crate::house::become_child(parent, &argv)?;
                Ok(ExitCode::FAILURE)
            }
        }
    }
}

/// A literal IP address and port.
fn literal(text: &str) -> Result<SocketAddr, String> {
    use std::net::ToSocketAddrs;
    let mut found = text
        .to_socket_addrs()
        .map_err(|e| format!("write HOST:PORT: {e}"))?;
    found
        .next()
        .ok_or_else(|| "the name has no address".to_owned())
}
