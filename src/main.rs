//! The `gcpo` program.
fn main() {}
