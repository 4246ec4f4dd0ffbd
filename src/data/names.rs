//! Word lists for synthetic biographies. Every character is in [`super::synthetic::ALPHABET`].

pub(crate) const GIVEN: &[&str] = &[
    "Ada", "Agnes", "Albert", "Alice", "Anna", "Arthur", "Bernard", "Carl", "Clara", "Conrad",
    "Daniel", "Dora", "Edith", "Edwin", "Eleanor", "Emil", "Emma", "Ernest", "Esther", "Felix",
    "Flora", "Frances", "Frank", "George", "Grace", "Greta", "Hannah", "Harold", "Helen", "Henry",
    "Hugo", "Ida", "Irene", "Isaac", "Ivan", "Jacob", "James", "Jane", "Joan", "Joseph", "Karl",
    "Kate", "Laura", "Lena", "Leo", "Louis", "Lucy", "Martha", "Martin", "Max", "Nina", "Nora",
    "Olga", "Oscar", "Otto", "Paul", "Peter", "Robert", "Rosa", "Ruth", "Samuel", "Sophie",
    "Stella", "Theo", "Thomas", "Vera", "Victor", "Walter", "William", "Winifred",
];

/// Beginnings of family names.
pub(crate) const FAMILY_STEMS: &[&str] = &[
    "Ald", "Arn", "Ash", "Bald", "Bar", "Beck", "Birk", "Blom", "Bran", "Brig", "Cald", "Cas",
    "Clay", "Col", "Crom", "Dal", "Den", "Dor", "Eck", "Ed", "Ell", "Fair", "Fal", "Fen", "Gar",
    "Gil", "Grim", "Had", "Hal", "Hart", "Hol", "Ing", "Jan", "Kel", "Kir", "Lam", "Lind", "Lor",
    "Mal", "Mar", "Mil", "Mon", "Nor", "Oak", "Ost", "Pel", "Per", "Ram", "Red", "Ros", "Sal",
    "Sand", "Stan", "Sten", "Tal", "Thor", "Var", "Ver", "Wal", "Win",
];

/// Endings of family names; each pair of a beginning and an ending is a different name.
pub(crate) const FAMILY_ENDINGS: &[&str] = &[
    "berg", "by", "croft", "dale", "er", "field", "ford", "gate", "ham", "holm", "hurst", "ing",
    "land", "ley", "low", "man", "mer", "more", "ney", "sen", "son", "stone", "ton", "wick",
    "wood", "worth",
];

/// Places, from the most to the least common; none is a substring of another.
pub(crate) const PLACES: &[&str] = &[
    "London",
    "Paris",
    "Berlin",
    "Vienna",
    "Madrid",
    "Rome",
    "Chicago",
    "Boston",
    "Dublin",
    "Prague",
    "Warsaw",
    "Lisbon",
    "Moscow",
    "Athens",
    "Oslo",
    "Toronto",
    "Sydney",
    "Glasgow",
    "Hamburg",
    "Milan",
    "Budapest",
    "Istanbul",
    "Cairo",
    "Mumbai",
    "Tokyo",
    "Edinburgh",
    "Naples",
    "Barcelona",
    "Helsinki",
    "Geneva",
    "Lima",
    "Havana",
    "Lagos",
    "Nairobi",
    "Kyoto",
    "Delhi",
    "Seville",
    "Krakow",
    "Porto",
    "Ghent",
];

/// Professions that take the article `a`.
pub(crate) const PROFESSIONS: &[&str] = &[
    "baker",
    "botanist",
    "chemist",
    "composer",
    "dancer",
    "farmer",
    "geologist",
    "lawyer",
    "merchant",
    "painter",
    "pianist",
    "poet",
    "printer",
    "sailor",
    "sculptor",
    "singer",
    "surgeon",
    "teacher",
    "violinist",
    "weaver",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_list_repeats_itself() {
        for list in [GIVEN, FAMILY_STEMS, FAMILY_ENDINGS, PLACES, PROFESSIONS] {
            assert_eq!(list.iter().collect::<BTreeSet<_>>().len(), list.len());
        }
    }

    #[test]
    fn forty_places_are_told_apart() {
        assert_eq!((PLACES.len(), PLACES[0]), (40, "London"));
        for (i, place) in PLACES.iter().enumerate() {
            let other = |(j, other): (usize, &&str)| i != j && other.contains(place);
            assert!(!PLACES.iter().enumerate().any(other), "{place}");
        }
    }

    #[test]
    fn professions_follow_a_rather_than_an() {
        assert!(
            !PROFESSIONS
                .iter()
                .any(|p| p.starts_with(['a', 'e', 'i', 'o', 'u']))
        );
    }
}
