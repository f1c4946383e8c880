//! `causeway ctl certificate`: the node's certificate inspected, requested, put in place, and whom
//! the node trusts.
//!
//! Files are read and written by this process, with the functions that REST uses; the running node,
//! if there is one, is asked what names it knows to be needed, and told to take what has changed.

use std::path::{Path, PathBuf};

use admin::certificates::{self as desk, Judged, NamesReport, Row, files};
use admin::client::{self, AskFault};
use anyhow::Context;
use certificates::names::{self, Domain, Known};
use certificates::request::{KeyChoice, Wish};
use certificates::trusted::{Store, TrustFault};
use certificates::{Grade, read};
use clap::{Args, Subcommand, ValueEnum};
use config::Config;
use driver::signal::Clock;
use serde_json::json;

use super::code;
use crate::place::FileArg;
use crate::runtime;

#[derive(Subcommand)]
pub(crate) enum Certificate {
    /// Show the certificate and chain in use, what is wrong with them, and which legs could use
    /// them. Exit status 1 if one could not.
    Show(Ask),
    /// Judge a chain and its key before they go live: every fault by its name, with what was seen,
    /// what to do, and which legs could not use it. Exit status 1 if something is an error.
    Check(Check),
    /// Show which names the certificate needs, and why.
    Names(Names),
    /// Make a key and a request with all names that are needed. The key stays in the data folder,
    /// for its owner alone; the request is printed.
    Request(Request),
    /// Put a chain in the configuration's place, with the request's key unless another is named,
    /// and have the running node take it. A chain that cannot work is refused; a use or name that
    /// is missing is told.
    Install(Install),
    /// Have the running node take certificate, key and trust from their files: new connections use
    /// them, those that stand go on.
    Reload(Ask),
    /// Show, add and remove authorities that this node trusts beside those of its file.
    #[command(subcommand)]
    Trusted(Trusted),
}

#[derive(Args)]
pub(crate) struct Ask {
    #[command(flatten)]
    file: FileArg,
    /// One JSON object, for programs.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct Check {
    #[command(flatten)]
    ask: Ask,
    #[command(flatten)]
    more: More,
    /// The chain, in PEM: the node's certificate first. Without it the configuration's files are
    /// judged.
    #[arg(value_name = "CHAIN")]
    chain: Option<PathBuf>,
    /// Its key, in PEM. Without it only the chain is judged.
    #[arg(value_name = "KEY", requires = "chain")]
    key: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Names {
    #[command(flatten)]
    ask: Ask,
    #[command(flatten)]
    more: More,
}

/// What is known beside the configuration and what the running node tells.
#[derive(Args)]
pub(crate) struct More {
    /// A domain whose clients register here; may be repeated. For an edge that is not linked.
    #[arg(long, value_name = "NAME")]
    domain: Vec<base::DomainName>,
    /// An XMPP federation domain; may be repeated.
    #[arg(long, value_name = "NAME")]
    federation_domain: Vec<base::DomainName>,
    /// A phone security profile, by its fully qualified name; may be repeated.
    #[arg(long, value_name = "NAME")]
    profile: Vec<base::DomainName>,
    /// An alias of a chat node; may be repeated.
    #[arg(long, value_name = "NAME")]
    chat_node_alias: Vec<base::DomainName>,
}

#[derive(Args)]
pub(crate) struct Request {
    #[command(flatten)]
    ask: Ask,
    #[command(flatten)]
    more: More,
    /// Another name for subjectAltName: a host or an address; may be repeated.
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// Leave out names that are advised only.
    #[arg(long)]
    required_only: bool,
    /// The kind of key.
    #[arg(long, value_enum, default_value = "rsa-2048")]
    key: Key,
    /// The subject's organisation.
    #[arg(long, value_name = "TEXT")]
    organisation: Option<String>,
    /// Its unit.
    #[arg(long, value_name = "TEXT")]
    unit: Option<String>,
    /// Its town.
    #[arg(long, value_name = "TEXT")]
    locality: Option<String>,
    /// Its state or province.
    #[arg(long, value_name = "TEXT")]
    province: Option<String>,
    /// Its country, as two letters.
    #[arg(long, value_name = "XX")]
    country: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Key {
    #[value(name = "rsa-2048")]
    Rsa2048,
    #[value(name = "rsa-3072")]
    Rsa3072,
    #[value(name = "rsa-4096")]
    Rsa4096,
    #[value(name = "ec-p256")]
    EcP256,
    #[value(name = "ec-p384")]
    EcP384,
}

#[derive(Args)]
pub(crate) struct Install {
    #[command(flatten)]
    ask: Ask,
    /// What the authority gave back, in PEM: the node's certificate first, its intermediates after
    /// it.
    #[arg(value_name = "CHAIN")]
    chain: PathBuf,
    /// Its key, if it is neither the request's nor the one in use.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Put it in place although something is wrong with it, as long as TLS can use it at all.
    #[arg(long)]
    force: bool,
}

#[derive(Subcommand)]
pub(crate) enum Trusted {
    /// Show them, by subject and fingerprint.
    List(Ask),
    /// Trust every certificate of a file in PEM: authorities, or servers' own.
    Add {
        #[command(flatten)]
        ask: Ask,
        /// The file.
        #[arg(value_name = "FILE")]
        pem: PathBuf,
    },
    /// Trust one no longer.
    Remove {
        #[command(flatten)]
        ask: Ask,
        /// The beginning of its SHA-256 fingerprint, eight digits or more.
        #[arg(value_name = "FINGERPRINT")]
        fingerprint: String,
    },
}

/// Carries out a command.
pub(super) fn run(command: Certificate) -> anyhow::Result<u8> {
    match command {
        Certificate::Show(ask) => check(&ask, &More::none(), None, None),
        Certificate::Check(asked) => {
            let (chain, key) = (asked.chain.as_deref(), asked.key.as_deref());
            check(&asked.ask, &asked.more, chain, key)
        }
        Certificate::Names(asked) => names(&asked),
        Certificate::Request(asked) => request(&asked),
        Certificate::Install(asked) => install(&asked),
        Certificate::Reload(ask) => reload(&ask),
        Certificate::Trusted(command) => trusted(command),
    }
}

impl More {
    fn none() -> Self {
        More {
            domain: Vec::new(),
            federation_domain: Vec::new(),
            profile: Vec::new(),
            chat_node_alias: Vec::new(),
        }
    }

    /// Adds what was named here to what the node knows.
    fn add_to(&self, known: &mut Known) {
        for name in self.domain.iter().chain(&self.federation_domain) {
            let federation = self.federation_domain.contains(name);
            let registers = self.domain.contains(name);
            known.domains.push(Domain {
                name: name.to_string(),
                sip: registers,
                im_presence: registers,
                federation,
            });
        }
        let text = |names: &[base::DomainName]| -> Vec<String> {
            names.iter().map(ToString::to_string).collect()
        };
        known.profiles.extend(text(&self.profile));
        known.chat_node_aliases.extend(text(&self.chat_node_alias));
    }
}

fn now() -> base::UnixTime {
    Clock::start().now().unix
}

fn socket(config: &Config) -> PathBuf {
    config.data.join(admin::SOCKET)
}

/// What the running node knows, if one runs, and what was named here.
fn known(config: &Config, more: &More) -> anyhow::Result<Known> {
    let socket = socket(config);
    let asked = client::get(&socket, "/api/v1/certificates/names");
    let mut known = match runtime()?.block_on(asked) {
        Ok(body) => serde_json::from_slice::<NamesReport>(&body)?.known,
        // Nobody to ask: the configuration alone counts.
        Err(AskFault::NotRunning { .. }) => Known::default(),
        Err(e) => return Err(e.into()),
    };
    more.add_to(&mut known);
    Ok(known)
}

fn file(path: &Path) -> anyhow::Result<Vec<u8>> {
    read::file(path).with_context(|| format!("{} cannot be read", path.display()))
}

fn check(ask: &Ask, more: &More, chain: Option<&Path>, key: Option<&Path>) -> anyhow::Result<u8> {
    let (config, _) = ask.file.load()?;
    let known = known(&config, more)?;
    let of = &config.certificate;
    let key = if chain.is_some() {
        key
    } else {
        Some(of.key.as_path())
    };
    let chain = file(chain.unwrap_or(&of.chain))?;
    let key = key.map(file).transpose()?;
    let trusted = files::trusted(&config)?;
    let now = now();
    let report = desk::judge(&config, &known, &trusted, (&chain, key.as_deref()), now);
    let worst = report.worst();
    let judged = Judged::of(report, now);
    match ask.json {
        true => println!("{}", serde_json::to_string(&judged)?),
        false => print!("{}", desk::report_text(&judged)),
    }
    Ok(match worst {
        Some(Grade::Error) => code::REFUSED,
        _ => code::DONE,
    })
}

fn names(asked: &Names) -> anyhow::Result<u8> {
    let (config, _) = asked.ask.file.load()?;
    let known = known(&config, &asked.more)?;
    let needs = names::needed(&config, &known);
    let report = NamesReport { needs, known };
    match asked.ask.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => print!("{}", desk::names_text(&report)),
    }
    Ok(code::DONE)
}

fn request(asked: &Request) -> anyhow::Result<u8> {
    let (config, _) = asked.ask.file.load()?;
    let known = known(&config, &asked.more)?;
    let needs = names::needed(&config, &known);
    let all = needs.names.iter();
    let wanted = all.filter(|n| !asked.required_only || n.strength == names::Strength::Required);
    let mut names: Vec<String> = wanted.map(|n| n.name.clone()).collect();
    names.extend(asked.name.iter().cloned());
    let wish = Wish {
        common_name: config.fqdn(),
        names: names.clone(),
        organisation: asked.organisation.clone(),
        unit: asked.unit.clone(),
        locality: asked.locality.clone(),
        state: asked.province.clone(),
        country: asked.country.clone(),
        key: match asked.key {
            Key::Rsa2048 => KeyChoice::Rsa2048,
            Key::Rsa3072 => KeyChoice::Rsa3072,
            Key::Rsa4096 => KeyChoice::Rsa4096,
            Key::EcP256 => KeyChoice::EcP256,
            Key::EcP384 => KeyChoice::EcP384,
        },
    };
    let made = match files::request(&config, &wish) {
        Ok(made) => made,
        Err(files::FilesFault::Request(fault)) => {
            eprintln!("causeway: {fault}");
            return Ok(code::NOT_UNDERSTOOD);
        }
        Err(e) => return Err(e.into()),
    };
    let path = files::request_path(&config);
    if asked.ask.json {
        let whole = json!({
            "request": made.request, "names": names, "notes": needs.notes,
            "file": path.display().to_string(),
        });
        println!("{whole}");
        return Ok(code::DONE);
    }
    print!("{}", made.request);
    let mut told = format!("{} names: {}\n", names.len(), names.join(", "));
    for note in &needs.notes {
        told.push_str(&format!("Note: {note}\n"));
    }
    told.push_str(&format!(
        "The request is in {} too, its key beside it. Send the request to your authority; put its \
         answer in place by causeway ctl certificate install FILE",
        path.display()
    ));
    eprintln!("{}", lines(&told));
    Ok(code::DONE)
}

/// Clean of whatever would steer a terminal, line by line.
fn lines(text: &str) -> String {
    let clean: Vec<String> = text.lines().map(admin::show::clean).collect();
    clean.join("\n")
}

fn install(asked: &Install) -> anyhow::Result<u8> {
    let (config, _) = asked.ask.file.load()?;
    let known = known(&config, &More::none())?;
    let chain = file(&asked.chain)?;
    let key = asked.key.as_deref().map(file).transpose()?;
    let now = now();
    let put = files::install(&config, &known, &chain, key.as_deref(), asked.force, now);
    let report = match put {
        Ok(report) => report,
        Err(
            fault @ (files::FilesFault::NoKey
            | files::FilesFault::Unusable(_)
            | files::FilesFault::Amiss(_)),
        ) => {
            eprintln!("causeway: {}", lines(&fault.to_string()));
            return Ok(code::REFUSED);
        }
        Err(e) => return Err(e.into()),
    };
    let taken = tell(&config)?;
    let judged = Judged::of(report, now);
    if asked.ask.json {
        println!("{}", json!({ "judged": judged, "taken": taken }));
    } else {
        print!("{}", desk::report_text(&judged));
        println!("\n{}", told(taken.as_ref()));
    }
    Ok(code::DONE)
}

fn reload(ask: &Ask) -> anyhow::Result<u8> {
    let (config, _) = ask.file.load()?;
    let (socket, nothing) = (socket(&config), json!({}));
    let sent = client::post_json(&socket, "/api/v1/certificates/reload", &nothing);
    match runtime()?.block_on(sent) {
        Ok(body) => {
            let taken: serde_json::Value = serde_json::from_slice(&body)?;
            match ask.json {
                true => println!("{taken}"),
                false => println!("{}", told(Some(&taken))),
            }
            Ok(code::DONE)
        }
        Err(AskFault::Answer(why)) => {
            eprintln!("causeway: {}", lines(&why));
            Ok(code::REFUSED)
        }
        Err(e) => Err(e.into()),
    }
}

/// Has the running node take what has changed; nothing if none runs.
fn tell(config: &Config) -> anyhow::Result<Option<serde_json::Value>> {
    let (socket, nothing) = (socket(config), json!({}));
    let sent = client::post_json(&socket, "/api/v1/certificates/reload", &nothing);
    match runtime()?.block_on(sent) {
        Ok(body) => Ok(Some(serde_json::from_slice(&body)?)),
        Err(AskFault::NotRunning { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn told(taken: Option<&serde_json::Value>) -> String {
    let Some(taken) = taken else {
        return "no node runs: it will be used from the start on".into();
    };
    let text = |key: &str| taken.get(key).map(|v| v.to_string().replace('"', ""));
    let [ends, mark, trusted] =
        ["not_after", "fingerprint", "trusted"].map(|key| text(key).unwrap_or_default());
    let which = match taken.get("changed").and_then(serde_json::Value::as_bool) {
        Some(true) => "a new certificate is in use",
        _ => "the certificate is the same as before",
    };
    admin::show::clean(&format!(
        "{which}, until {ends}, SHA-256 {mark}; authorities trusted: {trusted}"
    ))
}

fn trusted(command: Trusted) -> anyhow::Result<u8> {
    let (Trusted::List(ask) | Trusted::Add { ask, .. } | Trusted::Remove { ask, .. }) = &command;
    let (config, _) = ask.file.load()?;
    let (store, now) = (Store::of(&config.data), now());
    let done = match &command {
        Trusted::List(_) => list(ask, &config, now),
        Trusted::Add { pem, .. } => {
            let text = file(pem)?;
            store.add(&text, now).map(|added| {
                let rows: Vec<Row> = added.iter().map(|a| Row::of(&a.certificate, now)).collect();
                (rows, desk::added(&added))
            })
        }
        Trusted::Remove { fingerprint, .. } => store.remove(fingerprint).map(|gone| {
            let text = format!(
                "{} is trusted no longer\n",
                admin::show::clean(&gone.about())
            );
            (vec![Row::of(&gone, now)], text)
        }),
    };
    let (rows, text) = match done {
        Ok(done) => done,
        Err(fault @ (TrustFault::Which(_) | TrustFault::Content(_) | TrustFault::Full)) => {
            eprintln!("causeway: {}", lines(&fault.to_string()));
            return Ok(code::REFUSED);
        }
        Err(e) => return Err(e.into()),
    };
    match ask.json {
        true => println!("{}", serde_json::to_string(&rows)?),
        false => print!("{text}"),
    }
    if !matches!(command, Trusted::List(_))
        && let Some(taken) = tell(&config)?
        && !ask.json
    {
        println!("{}", told(Some(&taken)));
    }
    Ok(code::DONE)
}

/// Those of the folder, and how many the file has beside them.
fn list(ask: &Ask, config: &Config, now: base::UnixTime) -> Result<(Vec<Row>, String), TrustFault> {
    let all = Store::of(&config.data).list()?;
    let rows: Vec<Row> = all.iter().map(|c| Row::of(c, now)).collect();
    let mut text = desk::trusted_text(&rows);
    if !ask.json {
        let file = &config.certificate.trusted;
        let there = read::file(file).ok();
        let there = there.and_then(|text| read::certificates(&text).ok());
        let there: Vec<Row> = there
            .unwrap_or_default()
            .iter()
            .map(|c| Row::of(c, now))
            .collect();
        text.push_str(&format!(
            "\nOf {}, which is edited by hand:\n",
            file.display()
        ));
        text.push_str(&desk::trusted_text(&there));
    }
    Ok((rows, text))
}
