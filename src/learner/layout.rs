//! How the numbers that are trained are shared out over ranks: all parameters one behind the other, cut into rounds of one block a rank,
//! so that every rank has equally many, whatever the parameters' sizes.
//!
//! ```text
//!     parameters   |   a   |          b          |  c |       d      |
//!     blocks       |rank 0|rank 1|rank 2|rank 0|rank 1|rank 2|
//!                  '------ round 0 -----'------ round 1 -----'
//! ```

use std::ops::Range;

/// A parameter that is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// Its name.
    pub name: String,
    /// Its shape in the module.
    pub shape: Vec<usize>,
}

impl Trained {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A part of a parameter that lies in one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Which parameter.
    pub of: usize,
    /// Which of its numbers.
    pub range: Range<usize>,
    /// Where they begin in the block.
    pub at: usize,
}

/// Where each number is.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// The parameters, in the module's order.
    pub parameters: Vec<Trained>,
    /// Numbers of a block.
    pub block: usize,
    /// Rounds in all.
    pub rounds: usize,
    ranks: usize,
}

impl Layout {
    /// Of some parameters over so many ranks; `most`: numbers of a round, about.
    pub fn new(parameters: Vec<Trained>, ranks: usize, most: usize) -> Self {
        let total: usize = parameters.iter().map(Trained::len).sum();
        let rounds = total.div_ceil(most.max(ranks)).max(1);
        Self {
            parameters,
            block: total.div_ceil(rounds * ranks),
            rounds,
            ranks,
        }
    }

    /// The parts of parameters in a rank's block of a round.
    pub fn pieces(&self, round: usize, rank: usize) -> Vec<Piece> {
        let from = (round * self.ranks + rank) * self.block;
        self.pieces_of(from..from + self.block)
    }

    /// The parts of parameters in all blocks of a round, one behind the other.
    pub fn pieces_of_round(&self, round: usize) -> Vec<Piece> {
        let from = round * self.ranks * self.block;
        self.pieces_of(from..from + self.ranks * self.block)
    }

    fn pieces_of(&self, numbers: Range<usize>) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut start = 0;
        for (of, parameter) in self.parameters.iter().enumerate() {
            let end = start + parameter.len();
            let (from, to) = (numbers.start.max(start), numbers.end.min(end));
            if from < to {
                pieces.push(Piece {
                    of,
                    range: from - start..to - start,
                    at: from - numbers.start,
                });
            }
            start = end;
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(sizes: &[usize], ranks: usize, most: usize) -> Layout {
        let parameters = sizes.iter().map(|&size| Trained {
            name: format!("p{size}"),
            shape: vec![size],
        });
        Layout::new(parameters.collect(), ranks, most)
    }

    #[test]
    fn every_number_is_in_one_block_and_blocks_are_even() {
        for (sizes, ranks, most) in [
            (&[5, 11, 1, 7][..], 3, 9),
            (&[1000, 3], 4, 100),
            (&[3], 8, 1),
            (&[64, 64], 2, 1 << 20),
        ] {
            let layout = layout(sizes, ranks, most);
            let mut seen: Vec<Vec<usize>> = sizes.iter().map(|&size| vec![0; size]).collect();
            for round in 0..layout.rounds {
                let mut whole = layout.pieces_of_round(round);
                for rank in 0..ranks {
                    for piece in layout.pieces(round, rank) {
                        assert!(piece.at + piece.range.len() <= layout.block);
                        piece.range.clone().for_each(|at| seen[piece.of][at] += 1);
                        let from = rank * layout.block + piece.at;
                        let of_round = whole.iter_mut().find(|all| {
                            all.of == piece.of && all.at <= from && from < all.at + all.range.len()
                        });
                        let all = of_round.expect("it is in the round");
                        assert_eq!(all.range.start + (from - all.at), piece.range.start);
                    }
                }
            }
            assert!(
                seen.concat().iter().all(|&count| count == 1),
                "{sizes:?} over {ranks}"
            );
            let total: usize = sizes.iter().sum();
            assert!(
                layout.block * layout.rounds * ranks < total + layout.rounds * ranks,
                "{layout:?}"
            );
        }
    }

    #[test]
    fn small_models_are_shared_out_as_well() {
        let layout = layout(&[10], 5, 1_000_000);
        assert_eq!((layout.rounds, layout.block), (1, 2));
    }
}
