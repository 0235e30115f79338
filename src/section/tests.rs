//! A section made for the tests: what follows from its declaration.

use super::*;

section! {
    /// A dish.
    pub struct Dish from DishDraft(guests: usize) {
        /// How many plates. Source: the cook.
        pub plates: usize => guests,
        /// How hot. Source: the cook.
        pub heat: f64 = 0.5,
        /// At most so hot. Source: the cook.
        pub most: f64 => heat,
        /// A note. Source: the cook.
        pub note: Option<String>,
        /// What it is.
        pub kind: Kind of KindDraft => kind.complete(heat),
    }
}

impl Check for Dish {
    fn check(&self) -> Result<(), ConfigError> {
        within("heat", self.heat, 0.0, 1.0)
    }
}

variants! {
    /// What it is. Source: the cook.
    pub enum Kind from KindDraft by name = "soup" (heat: f64) {
        /// Soup.
        Soup = "soup" of SoupDraft(heat),
        /// Cake.
        Cake = "cake" of CakeDraft(),
    }
}

section! {
    /// Soup.
    pub struct Soup from SoupDraft(heat: f64) {
        /// Salt. Source: the cook.
        pub salt: f64 => 2.0 * heat,
    }
}

impl Check for Soup {}

section! {
    /// Cake.
    pub struct Cake from CakeDraft {
        /// Layers. Source: the cook.
        pub layers: usize => required("layers", "add `layers = …`")?,
    }
}

impl Check for Cake {}

fn read(text: &str) -> Result<DishDraft, ConfigError> {
    DishDraft::read(Toml::Table(text.parse().unwrap()))
}

#[test]
fn what_is_not_given_follows_in_the_order_of_the_declaration() {
    let dish = DishDraft::default().complete(3).unwrap();
    assert_eq!(
        (dish.plates, dish.heat, dish.most, dish.note),
        (3, 0.5, 0.5, None)
    );
    assert_eq!(dish.kind, Kind::Soup(Soup { salt: 1.0 }));
    let dish = read("heat = 1\nplates = 2\nname = \"cake\"\nlayers = 4").unwrap();
    let dish = dish.complete(3).unwrap();
    assert_eq!((dish.plates, dish.most), (2, 1.0));
    assert_eq!(
        (dish.kind.name(), &dish.kind),
        ("cake", &Kind::Cake(Cake { layers: 4 }))
    );
    // A complete section is a draft that says everything.
    let known: DishDraft = dish.known();
    assert_eq!(DishDraft::read(known.write()).unwrap().complete(9).unwrap(), dish);
}

#[test]
fn a_mistake_has_its_key() {
    let said = |text: &str| {
        let whole = read(text).and_then(|draft| draft.complete(1));
        whole.unwrap_err().to_string()
    };
    assert_eq!(
        said("heat = \"much\""),
        "`heat`: wrong type: string \"much\"; give a number"
    );
    assert_eq!(
        said("heat = 2"),
        "`heat`: 2 is impossible; give a number from 0 to 1"
    );
    assert_eq!(
        said("name = \"cake\""),
        "`layers`: it must be given; add `layers = …`"
    );
    assert_eq!(
        said("name = \"cake\"\nlayers = 1\nsalt = 1"),
        "`salt`: `cake` has no such key; it belongs to `soup`; remove it; `cake` takes plates, heat, most, note, name, layers"
    );
    assert!(
        said("name = \"cakes\"")
            .starts_with("`name`: \"cakes\" is not one of its values; did you mean \"cake\"?")
    );
}

#[test]
fn the_keys_are_those_of_the_declaration() {
    let keys = DishDraft::keys();
    let paths: Vec<&str> = keys.iter().map(|key| key.path.as_str()).collect();
    assert_eq!(
        paths,
        ["plates", "heat", "most", "note", "name", "salt", "layers"]
    );
    assert_eq!(keys[0].default.as_deref(), Some("guests"));
    assert_eq!(keys[1].default.as_deref(), Some("0.5"));
    assert_eq!(keys[1].doc, "How hot. Source: the cook.");
    assert_eq!(
        (keys[3].default.as_deref(), keys[3].wants.as_str()),
        (None, "a string")
    );
    assert_eq!(keys[6].of, [("name", "cake")]);
}

#[test]
fn sizes_read_back_as_they_are() {
    use bytesize::ByteSize;
    let read = |text: &str| ByteSize::read(text.into()).map(|size| size.0).ok();
    assert_eq!(read("4 GiB"), Some(4 << 30));
    assert_eq!(read("4.0 GiB"), Some(4 << 30));
    assert_eq!(read("1.5gb"), Some(1_500_000_000));
    assert_eq!(read(" 123 "), Some(123));
    for bad in ["", "GiB", "-1", "4 parsecs", "NaN", "é"] {
        assert_eq!(read(bad), None, "{bad}");
    }
    for size in [4 << 30, 1_500_000_000, 1000, (1 << 30) + 1] {
        assert_eq!(ByteSize::read(ByteSize(size).write()).unwrap().0, size);
    }
}
