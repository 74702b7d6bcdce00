//! The scope catalogue: what each scope token gives access to.

use serde::Serialize;

/// The meaning of a scope token.
#[derive(Clone, Debug, Serialize)]
pub struct CataloguedScope {
    /// The scope token, unique in the catalogue.
    pub name: String,
    /// What the scope allows, in a sentence.
    pub description: String,
    /// The categories of data that the scope gives access to.
    pub data: Vec<String>,
    /// The categories of data subjects whose data they are.
    pub subjects: Vec<String>,
    /// Whether these are personal data (Art. 4(1) GDPR).
    pub personal: bool,
}
