//! What is done to an entity of each data type, and what it then holds.

use serde_json::{Value, json};

use crate::sdk::{Maps, Sdk};

/// The life of one entity.
pub(crate) struct Story {
    /// Its service.
    pub(crate) service: &'static str,
    /// Its id, one for each story.
    pub(crate) id: &'static str,
    /// The field of the requests that has its id.
    pub(crate) key: &'static str,
    /// The method that reads it.
    pub(crate) read: &'static str,
    /// The method that deletes it, if it has one.
    pub(crate) delete: Option<&'static str>,
    /// What it goes through.
    pub(crate) steps: Vec<Step>,
}

/// One command that changes an entity.
pub(crate) struct Step {
    /// The method.
    pub(crate) method: &'static str,
    /// Its request, without the id.
    pub(crate) request: Value,
    /// What the entity holds from then on.
    pub(crate) holds: Value,
}

impl Story {
    /// A request to this entity.
    pub(crate) fn request(&self, request: &Value) -> Value {
        let mut request = request.clone();
        request[self.key] = self.id.into();
        request
    }

    /// Whether a reply may tell otherwise than the entity: the JavaScript SDKs reply with what was
    /// written to a register, and learn afterwards that another write has won.
    pub(crate) fn replies_too_soon(&self) -> bool {
        self.service == "Registers" || self.service == "RegisterMaps"
    }
}

/// A story of the services in `replicated.proto`.
fn story<const N: usize>(
    service: &'static str,
    id: &'static str,
    steps: [(&'static str, Value, Value); N],
) -> Story {
    let step = |(method, request, holds)| Step {
        method,
        request,
        holds,
    };
    Story {
        service,
        id,
        key: "id",
        read: "Get",
        delete: Some("Delete"),
        steps: steps.into_iter().map(step).collect(),
    }
}

/// The stories that the function of an SDK can play.
pub(crate) fn of(sdk: &Sdk, served: &[&str]) -> Vec<Story> {
    let mut stories = vec![
        likes(),
        tags(),
        counter(),
        grow_counter(),
        set(),
        grow_set(),
    ];
    stories.extend([flag(), vote(), map_of_counters(), map_of_votes()]);
    stories.extend([counter_map(), register_map(), multi_map()]);
    stories.extend(registers());
    match sdk.maps {
        Maps::OfAnything => stories.extend(maps_of_anything()),
        Maps::OfFlags => stories.push(map_of_flags()),
    }
    stories.retain(|story| served.contains(&story.service));
    stories
}

fn likes() -> Story {
    let like = |amount: i64, likes: &str| {
        let request = json!({ "amount": amount });
        ("Like", request, json!({ "likes": likes }))
    };
    let steps = [like(2, "2"), like(1, "3"), like(4, "7"), like(1, "8")];
    Story {
        key: "topic",
        read: "GetLikes",
        delete: Some("Forget"),
        ..story("Likes", "likes", steps)
    }
}

fn tags() -> Story {
    let tag = |method, tag: &str, tags: &[&str]| {
        let request = json!({ "tag": tag });
        (method, request, json!({ "tags": tags }))
    };
    let steps = [
        tag("AddTag", "b", &["b"]),
        tag("AddTag", "a", &["a", "b"]),
        tag("RemoveTag", "b", &["a"]),
        tag("RemoveTag", "a", &[]),
    ];
    Story {
        key: "topic",
        read: "GetTags",
        delete: None,
        ..story("Tags", "tags", steps)
    }
}

/// An addition to a counter, and what the counter has then.
fn add(amount: i64, holds: i64) -> (&'static str, Value, Value) {
    let request = json!({ "amount": amount });
    ("Add", request, json!({ "amount": holds.to_string() }))
}

fn counter() -> Story {
    let steps = [
        add(5, 5),
        add(-7, -2),
        add(4_000_000_000_000, 3_999_999_999_998),
        add(0, 3_999_999_999_998),
        add(2, 4_000_000_000_000),
    ];
    story("Counters", "counter", steps)
}

fn grow_counter() -> Story {
    let steps = [add(5, 5), add(0, 5), add(4_000_000_000, 4_000_000_005)];
    story("GCounters", "grow-counter", steps)
}

/// A change of a set, and what is in it then.
fn set_step(
    method: &'static str,
    elements: &[&str],
    holds: &[&str],
) -> (&'static str, Value, Value) {
    let elements = json!({ "elements": elements });
    (method, elements, json!({ "elements": holds }))
}

fn set() -> Story {
    let steps = [
        set_step("Add", &["b", "a"], &["a", "b"]),
        set_step("Add", &["", "a"], &["", "a", "b"]),
        set_step("Remove", &["a", "none"], &["", "b"]),
        set_step("Replace", &["b", "c"], &["b", "c"]),
        set_step("Remove", &["b", "c"], &[]),
        set_step("Add", &["c"], &["c"]),
    ];
    story("Sets", "set", steps)
}

fn grow_set() -> Story {
    let steps = [
        set_step("Add", &["b", "a"], &["a", "b"]),
        set_step("Add", &["", "a"], &["", "a", "b"]),
    ];
    story("GSets", "grow-set", steps)
}

fn flag() -> Story {
    let raise = || ("Raise", json!({}), json!({ "raised": true }));
    story("Flags", "flag", [raise(), raise()])
}

fn vote() -> Story {
    let vote = |vote: bool| {
        let holds = json!({ "vote": vote, "votesFor": i32::from(vote), "voters": 1 });
        ("Vote", json!({ "vote": vote }), holds)
    };
    let steps = [vote(true), vote(true), vote(false), vote(false), vote(true)];
    story("Votes", "vote", steps)
}

/// How a write to a register is stamped, in a request.
fn stamped(text: &str, clock: &str, value: i64) -> Value {
    json!({ "text": text, "clock": clock, "clockValue": value })
}

fn registers() -> [Story; 4] {
    let write = |request: Value, holds: &str| {
        let holds = json!({ "text": holds, "found": true });
        ("Write", request, holds)
    };
    let last_wins = [
        write(json!({ "text": "one" }), "one"),
        write(json!({ "text": "two" }), "two"),
        write(json!({ "text": "one" }), "one"),
    ];
    let first_wins = [
        write(stamped("one", "REVERSE", 0), "one"),
        write(stamped("two", "REVERSE", 0), "one"),
        write(stamped("three", "REVERSE", 0), "one"),
    ];
    let greatest_wins = [
        write(stamped("low", "CUSTOM", -5), "low"),
        write(stamped("lower", "CUSTOM", -7), "low"),
        write(stamped("high", "CUSTOM", 3), "high"),
        write(stamped("low", "CUSTOM", 2), "high"),
    ];
    let counts_itself = [
        write(stamped("one", "CUSTOM_AUTO_INCREMENT", 10), "one"),
        // Too small, so it is 11.
        write(stamped("two", "CUSTOM_AUTO_INCREMENT", 4), "two"),
        write(stamped("three", "CUSTOM", 10), "two"),
        write(stamped("four", "CUSTOM", 12), "four"),
    ];
    [
        story("Registers", "last-wins", last_wins),
        story("Registers", "first-wins", first_wins),
        story("Registers", "greatest-wins", greatest_wins),
        story("Registers", "counts-itself", counts_itself),
    ]
}

fn count(key: &str, amount: i64, holds: Value) -> (&'static str, Value, Value) {
    ("Count", json!({ "key": key, "amount": amount }), holds)
}

fn recount(key: &str, amount: i64, holds: Value) -> (&'static str, Value, Value) {
    ("Recount", json!({ "key": key, "amount": amount }), holds)
}

fn collect(key: &str, elements: &[&str], holds: Value) -> (&'static str, Value, Value) {
    let request = json!({ "key": key, "elements": elements });
    ("Collect", request, holds)
}

fn remove(key: &str, holds: Value) -> (&'static str, Value, Value) {
    ("Remove", json!({ "key": key }), holds)
}

fn clear() -> (&'static str, Value, Value) {
    ("Clear", json!({}), json!({}))
}

fn map_of_counters() -> Story {
    let steps = [
        count("a", 3, json!({ "counters": { "a": "3" } })),
        count("a", -1, json!({ "counters": { "a": "2" } })),
        count("b", 0, json!({ "counters": { "a": "2", "b": "0" } })),
        recount("a", 9, json!({ "counters": { "a": "9", "b": "0" } })),
        remove("b", json!({ "counters": { "a": "9" } })),
        remove("a", json!({})),
        count("a", 1, json!({ "counters": { "a": "1" } })),
        clear(),
        count("b", 2, json!({ "counters": { "b": "2" } })),
    ];
    story("Maps", "of-counters", steps)
}

fn map_of_votes() -> Story {
    let vote = |vote: bool| {
        let holds = json!({ "vote": vote, "votesFor": i32::from(vote), "voters": 1 });
        let request = json!({ "key": "v", "vote": vote });
        ("Vote", request, json!({ "votes": { "v": holds } }))
    };
    let steps = [vote(false), vote(true), vote(false), vote(true)];
    story("Maps", "of-votes", steps)
}

fn map_of_flags() -> Story {
    let raise = |key: &str, holds| ("Raise", json!({ "key": key }), holds);
    let steps = [
        raise("f", json!({ "flags": { "f": true } })),
        raise("f", json!({ "flags": { "f": true } })),
        raise("g", json!({ "flags": { "f": true, "g": true } })),
        remove("f", json!({ "flags": { "g": true } })),
    ];
    story("Maps", "of-flags", steps)
}

fn maps_of_anything() -> [Story; 2] {
    let nest = |key: &str, inner: &str, amount: i64, holds: Value| {
        let request = json!({ "key": key, "inner": inner, "amount": amount });
        let holds = json!({ "maps": { key: { "counters": holds } } });
        ("Nest", request, holds)
    };
    let of_maps = [
        nest("m", "i", 1, json!({ "i": "1" })),
        nest("m", "i", 2, json!({ "i": "3" })),
        nest("m", "j", 4, json!({ "i": "3", "j": "4" })),
        // A value of another type.
        recount("m", 5, json!({ "counters": { "m": "5" } })),
        remove("m", json!({})),
        nest("m", "i", 1, json!({ "i": "1" })),
    ];
    let write = |text: &str, holds| ("Write", json!({ "key": "r", "text": text }), holds);
    let x = json!({ "s": { "elements": ["x"] } });
    let seven = json!({ "counters": { "s": "7" }, "registers": { "r": "two" } });
    let of_the_rest = [
        collect("s", &["x"], json!({ "sets": x })),
        write("one", json!({ "sets": x, "registers": { "r": "one" } })),
        write("two", json!({ "sets": x, "registers": { "r": "two" } })),
        recount("s", 7, seven),
        clear(),
        collect("s", &["x"], json!({ "sets": x })),
    ];
    [
        story("Maps", "of-maps", of_maps),
        story("Maps", "of-sets-and-registers", of_the_rest),
    ]
}

fn counter_map() -> Story {
    let steps = [
        count("a", 3, json!({ "counters": { "a": "3" } })),
        count("b", 2, json!({ "counters": { "a": "3", "b": "2" } })),
        count("a", -1, json!({ "counters": { "a": "2", "b": "2" } })),
        remove("a", json!({ "counters": { "b": "2" } })),
        count("a", 5, json!({ "counters": { "a": "5", "b": "2" } })),
        clear(),
        count("a", 1, json!({ "counters": { "a": "1" } })),
    ];
    story("CounterMaps", "counter-map", steps)
}

fn register_map() -> Story {
    let write = |key: &str, mut request: Value, holds: &[(&str, &str)]| {
        request["key"] = key.into();
        let pair = |(key, text): &(&str, &str)| ((*key).to_owned(), json!(text));
        let registers: Value = holds.iter().map(pair).collect();
        ("Write", request, json!({ "registers": registers }))
    };
    let text = |text: &str| json!({ "text": text });
    let custom = |text: &str, value: i64| stamped(text, "CUSTOM", value);
    let steps = [
        write("r", text("one"), &[("r", "one")]),
        write("r", text("two"), &[("r", "two")]),
        write("q", custom("one", 5), &[("q", "one"), ("r", "two")]),
        write("q", custom("two", 4), &[("q", "one"), ("r", "two")]),
        remove("q", json!({ "registers": { "r": "two" } })),
        // A new register, which knows nothing of the stamps before.
        write("q", custom("three", 1), &[("q", "three"), ("r", "two")]),
        clear(),
        write("r", text("three"), &[("r", "three")]),
    ];
    story("RegisterMaps", "register-map", steps)
}

fn multi_map() -> Story {
    let holds = |sets: &[(&str, &[&str])]| {
        let sets = sets.iter().map(|(key, elements)| {
            let elements = json!({ "elements": elements });
            ((*key).to_owned(), elements)
        });
        json!({ "sets": sets.collect::<serde_json::Map<_, _>>() })
    };
    let discard = |element: &str, holds| {
        let request = json!({ "key": "s", "elements": [element] });
        ("Discard", request, holds)
    };
    let steps = [
        collect("s", &["y", "x"], holds(&[("s", &["x", "y"])])),
        collect("t", &["z"], holds(&[("s", &["x", "y"]), ("t", &["z"])])),
        discard("x", holds(&[("s", &["y"]), ("t", &["z"])])),
        discard("y", holds(&[("t", &["z"])])),
        collect("s", &["x"], holds(&[("s", &["x"]), ("t", &["z"])])),
        remove("t", holds(&[("s", &["x"])])),
        clear(),
        collect("t", &["a"], holds(&[("t", &["a"])])),
    ];
    story("MultiMaps", "multi-map", steps)
}
