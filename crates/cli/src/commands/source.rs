//! Where the configuration is, and which of its environments a command concerns.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use edgepass_issuer::config::SourceFile;
use edgepass_issuer::{Config, Installation};

use super::database;
use crate::private;
use crate::remote::Remote;

/// The configuration and the environment of a command.
#[derive(Clone, clap::Args)]
pub(crate) struct Source {
    /// The configuration file, or a folder: all its files that end in .toml.
    /// Default: edgepass.toml.
    #[arg(long, global = true, env = "EDGEPASS_CONFIG", value_name = "PATH")]
    config: Option<PathBuf>,
    /// The environment, if the configuration has several.
    #[arg(long, global = true, env = "EDGEPASS_ENVIRONMENT", value_name = "NAME")]
    pub(crate) environment: Option<String>,
    /// Ask the issuer with this identifier over HTTP, instead of working on this machine's
    /// configuration.
    #[arg(long, global = true, env = "EDGEPASS_SERVER", value_name = "URL")]
    server: Option<String>,
    /// File with the token for --server, or - for stdin. Default: the variable EDGEPASS_TOKEN.
    #[arg(long, global = true, env = "EDGEPASS_TOKEN_FILE", value_name = "FILE|-")]
    server_token: Option<PathBuf>,
}

/// The state of the files of a configuration. Two are equal as long as nothing was done to the files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Stamp(Vec<(Option<private::Identity>, PathBuf)>);

/// The configuration where none is named.
const DEFAULT: &str = "edgepass.toml";

impl Source {
    /// The path of the configuration.
    pub(crate) fn config(&self) -> &Path {
        self.config.as_deref().unwrap_or_else(|| Path::new(DEFAULT))
    }

    /// The named server. An empty variable names none.
    fn server(&self) -> Option<&str> {
        self.server.as_deref().filter(|server| !server.is_empty())
    }

    /// Whether an issuer on another machine was named.
    pub(crate) fn is_remote(&self) -> bool {
        self.server().is_some()
    }

    /// The issuer on another machine, if one was named.
    pub(crate) fn remote(&self) -> anyhow::Result<Option<Remote>> {
        let Some(server) = self.server() else { return Ok(None) };
        if self.environment.is_some() {
            bail!("an environment has an issuer identifier of its own: name it with --server");
        }
        Remote::new(server, self.server_token.as_deref()).map(Some)
    }

    /// Whether a configuration or an environment was named.
    pub(crate) fn is_named(&self) -> bool {
        self.config.is_some() || self.environment.is_some()
    }

    /// The files, in the order of their names.
    fn paths(&self) -> anyhow::Result<Vec<PathBuf>> {
        let shown = self.config().display();
        if !self.config().is_dir() {
            return Ok(vec![self.config().to_owned()]);
        }
        private::refuse_if_others_may_add(self.config())?;
        let entries =
            std::fs::read_dir(self.config()).with_context(|| format!("{shown} cannot be read"))?;
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.with_context(|| format!("{shown} cannot be read"))?.path();
            let is_hidden =
                path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if path.extension().is_none_or(|end| end != "toml") || is_hidden {
                continue;
            }
            // Left out, it might take a role or an agreement with it.
            if !path.is_file() {
                bail!("{} is no file; remove it, or end its name otherwise", path.display());
            }
            paths.push(path);
        }
        if paths.is_empty() {
            bail!("{shown} has no file that ends in .toml");
        }
        paths.sort();
        Ok(paths)
    }

    /// Reads and checks the whole configuration. Refuses a file that every user may write, and a
    /// target that would make private paths public.
    pub(crate) fn all(&self) -> anyhow::Result<Installation> {
        self.refuse_server()?;
        self.files()
    }

    /// Refuses `--server` for a command that works on this machine.
    pub(crate) fn refuse_server(&self) -> anyhow::Result<()> {
        if self.server().is_some() {
            bail!(
                "this command works on the issuer's own machine; leave --server (or EDGEPASS_SERVER) out"
            );
        }
        Ok(())
    }

    /// As [`Source::all`], also for a command that asks another machine.
    pub(crate) fn files(&self) -> anyhow::Result<Installation> {
        let paths = self.paths()?;
        self.parse(&paths, &Self::read(&paths)?)
    }

    /// The file to which an entry of the policy is to be added, and the text to append. In a folder
    /// that is the file `name`, which need not exist. Checks the configuration with the entry.
    pub(crate) fn with_entry(&self, name: &str, entry: &str) -> anyhow::Result<(PathBuf, String)> {
        let mut paths = self.paths()?;
        let mut files = Self::read(&paths)?;
        let target = if self.config().is_dir() {
            self.config().join(name)
        } else {
            self.config().to_owned()
        };
        let position = paths.iter().position(|path| *path == target);
        let mut appended = entry.to_owned();
        match position.and_then(|position| files.get_mut(position)) {
            Some(file) => {
                if !file.text.ends_with('\n') {
                    appended.insert(0, '\n');
                }
                file.text.push_str(&appended);
            }
            None => {
                files.push(SourceFile {
                    name: target.display().to_string(),
                    text: appended.clone(),
                });
                paths.push(target.clone());
            }
        }
        self.parse(&paths, &files)?;
        Ok((target, appended))
    }

    /// Checks the configuration with other texts for some of its files.
    pub(crate) fn with_files(&self, others: &[(PathBuf, String)]) -> anyhow::Result<()> {
        let paths = self.paths()?;
        let mut files = Self::read(&paths)?;
        for (path, file) in paths.iter().zip(&mut files) {
            if let Some((_, text)) = others.iter().find(|(other, _)| other == path) {
                text.clone_into(&mut file.text);
            }
        }
        self.parse(&paths, &files).map(drop)
    }

    fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<SourceFile>> {
        let mut files = Vec::new();
        for path in paths {
            let name = path.display().to_string();
            // What is no file may never end.
            if path.exists() && !path.is_file() {
                bail!("{name} is no file");
            }
            let text = std::fs::read_to_string(path).with_context(|| match path.exists() {
                true => format!("{name} cannot be read"),
                false => format!("{name} cannot be read; run `edgepass init` or pass --config"),
            })?;
            private::refuse_if_others_may_write(path)?;
            files.push(SourceFile { name, text });
        }
        Ok(files)
    }

    fn parse(&self, paths: &[PathBuf], files: &[SourceFile]) -> anyhow::Result<Installation> {
        let mut installation = Installation::parse(files, &self.base())?;
        refuse_readable_password(&installation, paths, files)?;
        if let Some(url) = database::from_environment()? {
            for config in &mut installation.environments {
                config.database_url = Some(url.clone());
            }
        }
        for config in &installation.environments {
            for path in paths {
                private::refuse_public(config, path)?;
            }
        }
        Ok(installation)
    }

    /// The folder at which relative paths of the configuration start.
    pub(crate) fn base(&self) -> PathBuf {
        if self.config().is_dir() {
            return self.config().to_owned();
        }
        // The parent of a bare file name is the empty path.
        let base = self.config().parent().filter(|base| !base.as_os_str().is_empty());
        base.unwrap_or_else(|| Path::new(".")).to_owned()
    }

    /// Refuses `--environment` for a command that concerns all environments.
    pub(crate) fn refuse_environment(&self, command: &str) -> anyhow::Result<()> {
        if self.environment.is_some() {
            bail!(
                "`edgepass {command}` concerns all environments; leave --environment (or EDGEPASS_ENVIRONMENT) out"
            );
        }
        Ok(())
    }

    /// What changes when the files do, or what may be done to them.
    pub(crate) fn stamp(&self) -> Stamp {
        let paths = self.paths().unwrap_or_default();
        Stamp(paths.into_iter().map(|path| (private::identity(&path), path)).collect())
    }

    /// Reads and checks the configuration of the command's environment.
    pub(crate) fn load(&self) -> anyhow::Result<Config> {
        let environment = self.all()?.environment(self.environment.as_deref());
        environment.with_context(|| "--environment")
    }
}

/// Refuses a file that holds the password of the database and that other users can read.
fn refuse_readable_password(
    installation: &Installation,
    paths: &[PathBuf],
    files: &[SourceFile],
) -> anyhow::Result<()> {
    let url = installation.environments.iter().find_map(|config| config.database_url.as_ref());
    let Some(url) = url.filter(|url| url.has_password()) else { return Ok(()) };
    // It is in all of them if it cannot be found, such as when it is written with escapes.
    let is_anywhere = files.iter().any(|file| file.text.contains(url.reveal()));
    for (path, file) in paths.iter().zip(files) {
        if !is_anywhere || file.text.contains(url.reveal()) {
            private::refuse_if_others_may_read(path, "the password of the database in")?;
        }
    }
    Ok(())
}
