//! What the SDK's README shows is the sample's code.

const README: &str = include_str!("../../../sdk/rust/README.md");

/// The code between `// region: NAME` and `// endregion: NAME`.
fn region<'a>(source: &'a str, name: &str) -> &'a str {
    let begin = format!("// region: {name}\n");
    let (_, rest) = source.split_once(&begin).expect("the region begins");
    let (code, _) = rest
        .split_once(&format!("// endregion: {name}\n"))
        .expect("and ends");
    code
}

#[test]
fn readme_shows_the_samples_code() {
    for (source, name) in [
        (include_str!("../src/cart.rs"), "cart"),
        (include_str!("../src/leaderboard.rs"), "leaderboard"),
        (include_str!("../src/main.rs"), "main"),
        (include_str!("../src/lib.rs"), "function"),
        (include_str!("kit.rs"), "kit"),
    ] {
        let shown = format!("```rust\n{}```", region(source, name));
        assert!(
            README.contains(&shown),
            "copy the region {name} into sdk/rust/README.md:\n{shown}"
        );
    }
}
