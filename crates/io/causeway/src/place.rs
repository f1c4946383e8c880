//! Where a node's settings are: in a file, or in the store of its data folder.

use std::path::{Path, PathBuf};

use admin::settings::Desk;
use anyhow::Context;
use clap::Args;
use config::{Config, Finding};

/// One of the two.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct FileArg {
    /// The configuration file (TOML): the node's settings are what stands in it.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data folder of a node whose settings are in the store there, and are changed while it
    /// runs.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl FileArg {
    /// The settings that there are.
    pub(crate) fn load(&self) -> anyhow::Result<(Config, Vec<Finding>)> {
        match (&self.config, &self.state) {
            (Some(path), _) => crate::check::load(path),
            (None, Some(folder)) => {
                let desk = Desk::beside(folder)?;
                let (_, document) = desk.current()?;
                let checked = desk.load(&document)?;
                Ok((checked.config, checked.warnings))
            }
            (None, None) => anyhow::bail!("neither --config nor --state is given"),
        }
    }

    /// The local socket of the node.
    pub(crate) fn socket(&self) -> anyhow::Result<PathBuf> {
        match &self.state {
            Some(folder) => Ok(folder.join(admin::SOCKET)),
            None => Ok(self.load()?.0.data.join(admin::SOCKET)),
        }
    }

    /// The file, where only a file will do.
    pub(crate) fn file(&self, why: &'static str) -> anyhow::Result<&Path> {
        self.config.as_deref().context(why)
    }

    /// The data folder with the store, if that is where they are.
    pub(crate) fn state(&self) -> Option<&Path> {
        self.state.as_deref()
    }
}
