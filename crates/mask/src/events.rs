//! Server-sent events (HTML, "Parsing an event stream"): each line `data:` holds a document.

use crate::masker::{Json, MaskError};

/// Where a line is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum At {
    /// At its start.
    #[default]
    Start,
    /// In the name of the field.
    Name,
    /// After the colon of `data`, where one blank may come.
    Blank,
    /// In the document.
    Data,
    /// In the value of another field, or in a comment.
    Other,
}

/// Fields whose values stay as they are. A stream with another one is refused: nobody says what it holds.
const KNOWN: [&[u8]; 3] = [b"event", b"id", b"retry"];
const DATA: &[u8] = b"data";
/// Octets of the longest name.
const LONGEST: usize = 5;

#[derive(Default)]
pub(crate) struct Events {
    at: At,
    name: Vec<u8>,
}

impl Events {
    pub(crate) fn feed(
        &mut self,
        mut input: &[u8],
        json: &mut Json,
        out: &mut Vec<u8>,
    ) -> Result<(), MaskError> {
        while let Some(byte) = input.first() {
            if self.at == At::Data && !is_break(*byte) {
                let length = input.iter().position(|byte| is_break(*byte)).unwrap_or(input.len());
                let (line, rest) = input.split_at_checked(length).unwrap_or((input, &[]));
                json.feed(line, false, out)?;
                input = rest;
                continue;
            }
            self.take(*byte, json, out)?;
            input = input.get(1..).unwrap_or_default();
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self, json: &mut Json, out: &mut Vec<u8>) -> Result<(), MaskError> {
        if self.at == At::Name {
            self.named()?;
        }
        json.end_document(out)
    }

    fn take(&mut self, byte: u8, json: &mut Json, out: &mut Vec<u8>) -> Result<(), MaskError> {
        if is_break(byte) {
            match self.at {
                At::Name => {
                    self.named()?;
                }
                // The document may not go on in the next line.
                At::Data => json.end_document(out)?,
                At::Start | At::Blank | At::Other => {}
            }
            self.at = At::Start;
            out.push(byte);
            return Ok(());
        }
        match (self.at, byte) {
            (At::Start, b':') | (At::Other, _) => self.at = At::Other,
            (At::Start, _) => {
                self.name.clear();
                self.name.push(byte);
                self.at = At::Name;
            }
            (At::Name, b':') => self.at = self.named()?,
            (At::Name, _) => {
                self.name.push(byte);
                if self.name.len() > LONGEST {
                    return Err(MaskError::NotJson);
                }
            }
            (At::Blank, b' ') => self.at = At::Data,
            (At::Blank | At::Data, _) => {
                self.at = At::Data;
                return json.feed(&[byte], false, out);
            }
        }
        out.push(byte);
        Ok(())
    }

    /// What comes after the name of a field.
    fn named(&self) -> Result<At, MaskError> {
        match &*self.name {
            DATA => Ok(At::Blank),
            name if KNOWN.contains(&name) => Ok(At::Other),
            _ => Err(MaskError::NotJson),
        }
    }
}

fn is_break(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}
