//! The files of a configuration, and the places of mistakes in them.

use toml::Spanned;

use super::error::{ConfigError, Mistake, Mistakes};
use super::written::ConfigText;

/// A file of the configuration.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The name of the file for messages.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// The files, read one after another. Offsets count from the start of the first.
pub(super) struct Sources<'f> {
    files: &'f [SourceFile],
    /// Where lines begin, in each file: a policy may have thousands of entries.
    lines: Vec<Vec<usize>>,
    mistakes: Vec<ConfigError>,
}

impl<'f> Sources<'f> {
    pub(super) fn new(files: &'f [SourceFile]) -> Self {
        let lines = |file: &SourceFile| {
            let ends = file.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
            ends.map(|(at, _)| at.saturating_add(1)).collect()
        };
        Self { files, lines: files.iter().map(lines).collect(), mistakes: Vec::new() }
    }

    /// Reads all files as one configuration.
    pub(super) fn read(&mut self) -> ConfigText {
        let mut all = ConfigText::default();
        let mut start = 0_usize;
        for file in self.files {
            // The lines in front make the offsets of the file those of all files.
            // TOML ignores a byte order mark at the start of a file alone.
            let own = file.text.strip_prefix('\u{feff}').map_or_else(
                || std::borrow::Cow::from(&file.text),
                |rest| format!("\n\n\n{rest}").into(),
            );
            let text = format!("{}{own}", "\n".repeat(start));
            match toml::from_str(&text) {
                Ok(read) => {
                    for (offset, name) in all.add(read) {
                        self.add(offset, Mistake::Twice(name));
                    }
                }
                Err(error) => {
                    let offset = error.span().map_or(start, |span| span.start.max(start));
                    self.add(offset, Mistake::Form(error.message().replace('\n', " ")));
                }
            }
            start = start.saturating_add(file.text.len());
        }
        all
    }

    pub(super) fn add(&mut self, offset: usize, mistake: Mistake) {
        self.mistakes.push(self.place(offset).mistake(mistake));
    }

    /// Applies a check to a value of the files. `None`: there is a mistake, which is noted with the
    /// place where the value starts.
    pub(super) fn check<T, C>(
        &mut self,
        written: Spanned<T>,
        check: impl FnOnce(T) -> Result<C, Mistake>,
    ) -> Option<C> {
        let offset = written.span().start;
        let checked = check(written.into_inner());
        checked.map_err(|mistake| self.add(offset, mistake)).ok()
    }

    /// Like [`Sources::check`], of a setting that must be written.
    pub(super) fn check_required<T, C>(
        &mut self,
        name: &'static str,
        written: Option<Spanned<T>>,
        check: impl FnOnce(T) -> Result<C, Mistake>,
    ) -> Option<C> {
        match written {
            Some(written) => self.check(written, check),
            None => {
                self.add(0, Mistake::Missing(name));
                None
            }
        }
    }

    /// The file and the line of an offset.
    pub(super) fn place(&self, offset: usize) -> Place {
        let (mut start, mut found) = (0_usize, None);
        for (file, lines) in self.files.iter().zip(&self.lines) {
            if offset >= start || found.is_none() {
                found = Some((file, lines, offset.saturating_sub(start)));
            }
            start = start.saturating_add(file.text.len());
        }
        let Some((file, lines, within)) = found else { return Place::default() };
        let line = lines.partition_point(|begin| *begin <= within).saturating_add(1);
        Place { file: file.name.clone(), line }
    }

    /// Fails if a mistake was found so far.
    pub(super) fn end(&mut self) -> Result<(), Mistakes> {
        let mistakes = std::mem::take(&mut self.mistakes);
        if mistakes.is_empty() { Ok(()) } else { Err(Mistakes(mistakes)) }
    }
}

/// Where something is written.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// The name of the file.
    pub file: String,
    /// The line, from 1. 1 also if the position is unknown.
    pub line: usize,
}

impl Place {
    fn mistake(self, mistake: Mistake) -> ConfigError {
        ConfigError { place: self, mistake }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}
