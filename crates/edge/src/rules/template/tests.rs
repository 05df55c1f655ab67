use proptest::prelude::*;

use super::*;

#[test]
fn templates_are_parsed_or_refused() {
    let check = |text: &str, erased: Result<&str, &str>| match Template::parse(text) {
        Ok(template) => assert_eq!(Ok(template.erased().as_str()), erased, "{text}"),
        Err(why) => {
            let part = erased.expect_err(text);
            assert!(why.contains(part), "{text}: {why}");
        }
    };
    check("/", Ok("/"));
    check("/users", Ok("/users"));
    check("/users/", Ok("/users/"));
    check("/users/{id}", Ok("/users/*"));
    check("/users/{user.id}/items", Ok("/users/*/items"));
    check("/{name=shelves/*}/books", Ok("/shelves/*/books"));
    check("/{name=shelves/*/books/**}", Ok("/shelves/*/books/**"));
    check("/v1/*/x/**", Ok("/v1/*/x/**"));
    check("/v1/{id}:cancel", Ok("/v1/*:cancel"));
    check("/v1/a:b", Ok("/v1/a:b"));
    check("/a=b", Ok("/a=b"));
    check("", Err("begin with /"));
    check("users", Err("begin with /"));
    check("//", Err("empty segment"));
    check("/a//b", Err("empty segment"));
    check("/**/a", Err("before its last segment"));
    check("/{a=**}/{b}", Err("before its last segment"));
    check("/a*", Err("mixes"));
    check("/***", Err("mixes"));
    check("/{a", Err("without its }"));
    check("/{a=b", Err("without its }"));
    check("/{a={b}}", Err("inside a variable"));
    check("/{a=x/{b}}", Err("inside a variable"));
    check("/{}", Err("no name"));
    check("/{a.}", Err("no name"));
    check("/{1a}", Err("no name"));
    check("/{a b}", Err("no name"));
    check("/{a}x", Err("expected"));
    check("/x{a}", Err("expected"));
    check("/a}", Err("expected"));
    check("/{a}/{a}", Err("twice"));
    check("/a:", Err("empty verb"));
    check("/a:b:c", Err("no path can have"));
    check("/a:b/c", Err("no path can have"));
}

#[test]
fn paths_match_and_fill_variables() {
    let check = |template: &str, path: &str, expected: Option<&[&str]>| {
        let found = Template::parse(template).unwrap().matches(path);
        assert_eq!(found.as_deref(), expected, "{template} {path}");
    };
    check("/", "/", Some(&[]));
    check("/", "/a", None);
    check("/users", "/users", Some(&[]));
    check("/users", "/users/", None);
    check("/users", "/user", None);
    check("/users", "users", None);
    check("/users", "", None);
    check("/users/", "/users/", Some(&[]));
    check("/users/{id}", "/users/7", Some(&["7"]));
    check("/users/{id}", "/users/", Some(&[""]));
    check("/users/{id}", "/users", None);
    check("/users/{id}", "/users/7/", None);
    check("/users/{id}", "/users/a%2Fb", Some(&["a%2Fb"]));
    check("/users/{id}", "/users/a:b", Some(&["a:b"]));
    check("/{a}/x/{b}", "/1/x/2", Some(&["1", "2"]));
    check("/{n=s/*}/books", "/s/1/books", Some(&["s/1"]));
    check("/{n=s/*}/books", "/t/1/books", None);
    check("/f/{p=**}", "/f/a/b/c", Some(&["a/b/c"]));
    check("/f/{p=**}", "/f/", Some(&[""]));
    check("/f/{p=**}", "/f", None);
    check("/f/**", "/f/a/b", Some(&[]));
    check("/{n=s/**}", "/s/a/b", Some(&["s/a/b"]));
    check("/j/{id}:cancel", "/j/1:cancel", Some(&["1"]));
    check("/j/{id}:cancel", "/j/1:stop", None);
    check("/j/{id}:cancel", "/j/1", None);
    check("/j/{p=**}:cancel", "/j/a/b:cancel", Some(&["a/b"]));
    check("/j:cancel", "/j:cancel", Some(&[]));
    check("/caf%C3%A9", "/caf\u{e9}", Some(&[]));
    check("/a b", "/a%20b", Some(&[]));
    check("/%61", "/a", Some(&[]));
}

/// A template, and a path that it matches with the values that its variables take.
fn template_and_path() -> impl Strategy<Value = (String, String, Vec<String>)> {
    let value = "[a-z0-9%:._~-]{0,5}";
    let piece = prop_oneof![
        "[a-z]{1,4}".prop_map(|text| (text.clone(), text, false)),
        value.prop_map(|text| ("*".to_owned(), text, false)),
        value.prop_map(|text| ("{?}".to_owned(), text, true)),
        ("[a-z]{1,3}", value).prop_map(|(literal, text)| {
            (
                format!("{{?={literal}/*}}"),
                format!("{literal}/{text}"),
                true,
            )
        }),
    ];
    let tail = prop_oneof![
        Just(None),
        ("[a-z]{0,3}(/[a-z]{0,3}){0,3}").prop_map(|text| Some(("{?=**}".to_owned(), text, true))),
    ];
    (prop::collection::vec(piece, 1..5), tail).prop_map(|(mut pieces, tail)| {
        pieces.extend(tail);
        let (mut template, mut path, mut values) = (String::new(), String::new(), Vec::new());
        for (i, (segment, text, captured)) in pieces.into_iter().enumerate() {
            template.push('/');
            template.push_str(&segment.replace('?', &format!("v{i}")));
            path.push('/');
            path.push_str(&text);
            if captured {
                values.push(text);
            }
        }
        (template, path, values)
    })
}

proptest! {
    #[test]
    fn what_variables_take_expands_to_the_path((template, path, values) in template_and_path()) {
        let template = Template::parse(&template).unwrap();
        let found = template.matches(&path);
        prop_assert_eq!(found, Some(values.iter().map(String::as_str).collect()));
    }

    #[test]
    fn any_template_and_any_path_are_answered(template in "[/a*{}=:.%]{0,20}", path in "[/a:%]{0,20}") {
        if let Ok(template) = Template::parse(&template) {
            template.matches(&path);
        }
    }
}

#[test]
fn fuzzed_templates_and_paths_never_panic() {
    bolero::check!()
        .with_type::<(String, String)>()
        .for_each(|(template, path)| {
            let template = Template::parse(&format!("/{template}"));
            if let Ok(template) = template
                && let Some(values) = template.matches(&format!("/{path}"))
            {
                assert_eq!(values.len(), template.variables().len());
            }
        });
}
