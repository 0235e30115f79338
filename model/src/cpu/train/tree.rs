//! Texts as trees: what several of them begin with is one node, and is run once.

use std::ops::Range;

use crate::dropout::Mark;

/// Tokens that follow one another in every text that has them.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Where its tokens stand among those of all trees.
    pub tokens: Range<usize>,
    /// Position of its first token in a text.
    pub position: usize,
    /// The nodes that it continues, the root first, and itself.
    pub path: Vec<usize>,
}

/// Trees of texts.
#[derive(Debug, Clone, Default)]
pub(super) struct Forest {
    /// The tokens of all nodes.
    pub tokens: Vec<u32>,
    /// The position of each in its texts.
    pub positions: Vec<usize>,
    /// The mark of each: of its texts so far.
    pub marks: Vec<Mark>,
    /// The nodes in the order of their tokens: a tree after the other, parents before their children.
    pub nodes: Vec<Node>,
    /// The nodes of each tree.
    pub trees: Vec<Range<usize>>,
}

/// A text and its number.
type Numbered<'a> = (usize, &'a [u32]);

impl Forest {
    /// The trees of texts, and for each text where its tokens stand.
    pub fn new(texts: &[Vec<u32>]) -> (Self, Vec<Vec<usize>>) {
        let mut sorted: Vec<Numbered> = texts.iter().map(Vec::as_slice).enumerate().collect();
        sorted.sort_by_key(|(number, text)| (*text, *number));
        let mut forest = Self::default();
        let mut places = vec![Vec::new(); texts.len()];
        forest.grow(&sorted, 0, &[], &mut places);
        (forest, places)
    }

    /// Adds what texts in order have behind their first `shared` tokens, which are the same and those of `path`.
    fn grow(&mut self, texts: &[Numbered], shared: usize, path: &[usize], places: &mut [Vec<usize>]) {
        // Those that end here stand first.
        let going_on = texts.partition_point(|(_, text)| text.len() <= shared);
        for group in texts[going_on..].chunk_by(|(_, a), (_, b)| a[shared] == b[shared]) {
            let (first, last) = (group[0].1, group[group.len() - 1].1);
            // In order, what the first and the last have in common all of them have.
            let end = first.iter().zip(last).take_while(|(a, b)| a == b).count();
            let start = self.tokens.len();
            self.tokens.extend_from_slice(&first[shared..end]);
            self.positions.extend(shared..end);
            let before = path.last().map(|&node| self.nodes[node].tokens.end - 1);
            let mut mark = before.map_or(Mark::START, |last| self.marks[last]);
            self.marks.extend(first[shared..end].iter().map(|&token| {
                mark = mark.then(token);
                mark
            }));
            let tokens = start..self.tokens.len();
            for (number, _) in group {
                places[*number].extend(tokens.clone());
            }
            let own = self.nodes.len();
            let path = [path, &[own]].concat();
            self.nodes.push(Node {
                tokens,
                position: shared,
                path: path.clone(),
            });
            self.grow(group, end, &path, places);
            if shared == 0 {
                self.trees.push(own..self.nodes.len());
            }
        }
    }

    /// The nodes that hold the tokens at some places, with those that they continue; and where the tokens of each stand here.
    pub fn with(&self, places: impl Iterator<Item = usize>) -> (Self, Vec<Range<usize>>) {
        let mut kept = vec![false; self.nodes.len()];
        for place in places {
            let node = self.nodes.partition_point(|node| node.tokens.end <= place);
            for &node in &self.nodes[node].path {
                kept[node] = true;
            }
        }
        let mut new = Self::default();
        let mut numbers = vec![0; self.nodes.len()];
        let mut from = Vec::new();
        for tree in &self.trees {
            let first = new.nodes.len();
            for number in tree.clone().filter(|&node| kept[node]) {
                let node = &self.nodes[number];
                numbers[number] = new.nodes.len();
                let start = new.tokens.len();
                new.tokens.extend_from_slice(&self.tokens[node.tokens.clone()]);
                new.positions
                    .extend_from_slice(&self.positions[node.tokens.clone()]);
                new.marks.extend_from_slice(&self.marks[node.tokens.clone()]);
                new.nodes.push(Node {
                    tokens: start..new.tokens.len(),
                    position: node.position,
                    path: node.path.iter().map(|&node| numbers[node]).collect(),
                });
                from.push(node.tokens.clone());
            }
            if new.nodes.len() > first {
                new.trees.push(first..new.nodes.len());
            }
        }
        (new, from)
    }

    /// Where a tree's tokens stand.
    pub fn tokens_of(&self, tree: &Range<usize>) -> Range<usize> {
        self.nodes[tree.start].tokens.start..self.nodes[tree.end - 1].tokens.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_texts_begin_with_is_there_once() {
        let texts: Vec<Vec<u32>> = [
            &[1, 2, 3, 4][..],
            &[7, 8],
            &[1, 2, 5],
            &[1, 2, 3, 4],
            &[1, 2, 3, 4, 9],
            &[1, 2],
        ]
        .map(<[u32]>::to_vec)
        .into();
        let (forest, places) = Forest::new(&texts);
        assert_eq!(forest.tokens, [1, 2, 3, 4, 9, 5, 7, 8]);
        assert_eq!(forest.positions, [0, 1, 2, 3, 4, 2, 0, 1]);
        assert_eq!(forest.trees, [0..4, 4..5]);
        assert_eq!(forest.tokens_of(&forest.trees[1]), 6..8);
        for (text, places) in texts.iter().zip(&places) {
            let marks: Vec<Mark> = places.iter().map(|&at| forest.marks[at]).collect();
            assert_eq!(marks, Mark::of(text.iter().copied()).collect::<Vec<_>>());
        }
        let paths: Vec<&[usize]> = forest.nodes.iter().map(|node| node.path.as_slice()).collect();
        assert_eq!(paths, [&[0][..], &[0, 1], &[0, 1, 2], &[0, 3], &[4]]);
        for (text, places) in texts.iter().zip(&places) {
            let found: Vec<u32> = places.iter().map(|&at| forest.tokens[at]).collect();
            assert_eq!(*text, found);
            assert!(
                places
                    .iter()
                    .enumerate()
                    .all(|(at, &place)| forest.positions[place] == at)
            );
        }
    }
}
