//! Masks bodies for JavaScript. The counterpart is `lib/masking.ts`.
//!
//! A module of its own: a program that masks nothing does not load it.

#![forbid(unsafe_code)]

use std::sync::Arc;

use edgepass_mask::{Format, HashKey, Masker, Plan, Rule, With};
use wasm_bindgen::prelude::*;

/// Rules that are being put together, or are ready.
#[wasm_bindgen]
#[derive(Default)]
pub struct Rules {
    rules: Vec<Rule>,
    plan: Arc<Plan>,
}

#[wasm_bindgen]
impl Rules {
    /// No rules.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a path and what takes the place of its values, by name. Returns whether both are right.
    pub fn add(&mut self, path: &str, with: &str) -> bool {
        let with = match with {
            "remove" => With::Remove,
            "null" => With::Null,
            "last4" => With::Last4,
            "hash" => With::Hash,
            "email" => With::Email,
            _ => return false,
        };
        let Ok(path) = path.parse() else { return false };
        self.rules.push(Rule { path, with });
        true
    }

    /// Makes the rules ready. Returns whether they are not too many.
    pub fn ready(&mut self) -> bool {
        match Plan::new(&self.rules) {
            Ok(plan) => {
                self.plan = Arc::new(plan);
                true
            }
            Err(_) => false,
        }
    }

    /// A masker for a body with this media type, for the rules whose bits are set in `active`. `None`: the type is
    /// no JSON in UTF-8. Without `secret`, hashes are `null`.
    pub fn masker(
        &self,
        active: u32,
        media_type: &str,
        secret: &[u8],
        issuer: &str,
        agreement: &str,
    ) -> Option<BodyMasker> {
        let format = Format::of_media_type(media_type)?;
        let key = (!secret.is_empty()).then(|| HashKey::new(secret, issuer, agreement));
        let masker = Masker::new(Arc::clone(&self.plan), active, format, key);
        Some(BodyMasker { masker, is_events: format == Format::Events, taken: 0 })
    }
}

/// Masks one body, piece by piece.
#[wasm_bindgen]
pub struct BodyMasker {
    masker: Masker,
    is_events: bool,
    taken: usize,
}

#[wasm_bindgen]
impl BodyMasker {
    /// Whether whoever reads the body waits for events, and wants to know that they will come.
    pub fn is_events(&self) -> bool {
        self.is_events
    }

    /// Takes octets, and returns those of the client: not many more than the piece has. `None`: the body cannot be
    /// masked.
    pub fn feed(&mut self, piece: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(piece.len());
        self.taken = self.masker.feed_some(piece, piece.len(), &mut out).ok()?;
        Some(out)
    }

    /// How many octets of the last piece were taken. The others are to be fed again.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Ends the body, and returns the last octets. `None`: the body cannot be masked.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        self.masker.finish(&mut out).ok().map(|()| out)
    }
}
