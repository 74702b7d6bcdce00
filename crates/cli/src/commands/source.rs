//! Where the configuration is, and which of its environments a command concerns.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use edgepass_issuer::config::SourceFile;
use edgepass_issuer::{Config, Installation};

use crate::private;

/// The configuration and the environment of a command.
#[derive(clap::Args)]
pub(crate) struct Source {
    /// The configuration file, or a folder: all its files that end in .toml.
    #[arg(long, global = true, env = "EDGEPASS_CONFIG", default_value = "edgepass.toml")]
    pub(crate) config: PathBuf,
    /// The environment, if the configuration has several.
    #[arg(long, global = true, env = "EDGEPASS_ENVIRONMENT", value_name = "NAME")]
    pub(crate) environment: Option<String>,
}

impl Source {
    /// The files, in the order of their names.
    fn paths(&self) -> anyhow::Result<Vec<PathBuf>> {
        let shown = self.config.display();
        if !self.config.is_dir() {
            return Ok(vec![self.config.clone()]);
        }
        let entries =
            std::fs::read_dir(&self.config).with_context(|| format!("{shown} cannot be read"))?;
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.with_context(|| format!("{shown} cannot be read"))?.path();
            let is_hidden =
                path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if path.extension().is_some_and(|end| end == "toml") && !is_hidden && path.is_file() {
                paths.push(path);
            }
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
        let paths = self.paths()?;
        self.parse(&paths, &Self::read(&paths)?)
    }

    /// The file to which an entry of the policy is to be added, and the text to append. In a folder
    /// that is the file `name`, which need not exist. Checks the configuration with the entry.
    pub(crate) fn with_entry(&self, name: &str, entry: &str) -> anyhow::Result<(PathBuf, String)> {
        let mut paths = self.paths()?;
        let mut files = Self::read(&paths)?;
        let target =
            if self.config.is_dir() { self.config.join(name) } else { self.config.clone() };
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

    fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<SourceFile>> {
        let mut files = Vec::new();
        for path in paths {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path).with_context(|| {
                format!("{name} cannot be read; run `edgepass init` or pass --config")
            })?;
            private::refuse_if_others_may_write(path)?;
            files.push(SourceFile { name, text });
        }
        Ok(files)
    }

    fn parse(&self, paths: &[PathBuf], files: &[SourceFile]) -> anyhow::Result<Installation> {
        let installation = Installation::parse(files, &self.base())?;
        for config in &installation.environments {
            for path in paths {
                private::refuse_public(config, path)?;
            }
        }
        Ok(installation)
    }

    /// The folder at which relative paths of the configuration start.
    pub(crate) fn base(&self) -> PathBuf {
        if self.config.is_dir() {
            return self.config.clone();
        }
        // The parent of a bare file name is the empty path.
        let base = self.config.parent().filter(|base| !base.as_os_str().is_empty());
        base.unwrap_or_else(|| Path::new(".")).to_owned()
    }

    /// Reads and checks the configuration of the command's environment.
    pub(crate) fn load(&self) -> anyhow::Result<Config> {
        let environment = self.all()?.environment(self.environment.as_deref());
        environment.with_context(|| "--environment")
    }
}
