//! Rebuilds the crate when a migration is added, since it embeds the migrations.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
