//! Where log lines go and how they look.

mod lines;

use std::fs::OpenOptions;

use anyhow::Context;
use config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::fmt;

use lines::{Lines, Tail};

/// The log of this process, which is whole when this is dropped.
pub(crate) struct Logging {
    set: SetFilter,
    _tail: Tail,
}

impl Logging {
    /// Lines of another level from now on.
    pub(crate) fn set_level(&self, level: &str) -> anyhow::Result<()> {
        (self.set)(filter(level)?)
    }
}

/// Libraries that would drown everything else, or print what is secret, below WARN.
const LIBRARIES: &[&str] = &[
    "h2",
    "hyper",
    "hyper_util",
    "rustls",
    "russh",
    "hickory_net",
    "hickory_proto",
    "hickory_resolver",
    "mio",
];

/// Sets up the log of this process.
pub(crate) fn start(log: &Log) -> anyhow::Result<Logging> {
    let (lines, tail) = match &log.file {
        None => lines::to(std::io::stderr()),
        Some(path) => {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("log file {} cannot be written", path.display()))?;
            lines::to(file)
        }
    }
    .context("the operating system gives no threads")?;
    let set = install(log, lines)?;
    Ok(Logging { set, _tail: tail })
}

type SetFilter = Box<dyn Fn(EnvFilter) -> anyhow::Result<()> + Send + Sync>;

fn install(log: &Log, writer: Lines) -> anyhow::Result<SetFilter> {
    let builder = fmt()
        .with_env_filter(filter(&log.level)?)
        .with_writer(writer);
    let (done, set): (_, SetFilter) = match log.format {
        LogFormat::Text => {
            let builder = builder.with_ansi(false).with_filter_reloading();
            let handle = builder.reload_handle();
            let set = move |filter| handle.reload(filter).context("the log is gone");
            (builder.try_init(), Box::new(set))
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_current_span(false);
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            let set = move |filter| handle.reload(filter).context("the log is gone");
            (builder.try_init(), Box::new(set))
        }
    };
    done.map_err(|e| anyhow::anyhow!("the log cannot be set up: {e}"))?;
    Ok(set)
}

/// A bare level counts for us; libraries stay at WARN unless they are named.
fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let mut directives = level.to_owned();
    for library in LIBRARIES.iter().filter(|l| !level.contains(*l)) {
        directives.push_str(&format!(",{library}=warn"));
    }
    EnvFilter::try_new(&directives).with_context(|| {
        format!("log.level {level:?} is no level (error, warn, info, debug, trace) or directive")
    })
}
