//! A tree of reasoning steps, and where it is to grow: UCT with progressive widening. It knows no tokens: a step is whatever can be told
//! from another one.

/// A node of the tree; the root is number 0.
#[derive(Debug, Clone)]
pub struct Node<S> {
    /// The step that leads to it; none of the root.
    pub step: Option<S>,
    /// The node that it continues; the root is its own.
    pub parent: usize,
    /// Steps from the root.
    pub depth: usize,
    /// Whether nothing can follow it.
    pub is_end: bool,
    /// How often it was expanded.
    pub expansions: usize,
    /// Rewards that were backed up through it, and their sum.
    pub visits: usize,
    /// Their sum.
    pub total: f64,
    children: Vec<usize>,
}

impl<S> Node<S> {
    /// The mean reward of what was tried below it: the Monte Carlo estimate of its value. 0 before anything was.
    pub fn value(&self) -> f64 {
        match self.visits {
            0 => 0.0,
            visits => self.total / visits as f64,
        }
    }
}

/// A tree of steps.
#[derive(Debug, Clone)]
pub struct Tree<S> {
    nodes: Vec<Node<S>>,
}

impl<S: PartialEq> Tree<S> {
    /// The root alone.
    pub fn new() -> Self {
        let root = Node {
            step: None,
            parent: 0,
            depth: 0,
            is_end: false,
            expansions: 0,
            visits: 0,
            total: 0.0,
            children: Vec::new(),
        };
        Self { nodes: vec![root] }
    }

    /// Its nodes.
    pub fn nodes(&self) -> &[Node<S>] {
        &self.nodes
    }

    /// The node to expand next: from the root on, always the child of the largest `value + c √(ln N / n)`, `N` visits of the parent
    /// and `n` of the child (UCT, Kocsis and Szepesvári 2006); of equal ones the earliest. It ends at a node that was never expanded, or that is to
    /// be widened: an expansion backs up `batch` rewards, and there is another one when the visits have outgrown the square of their number
    /// (progressive widening, Coulom 2007), or if nothing can follow any of the children.
    pub fn select(&self, exploration: f64, batch: usize) -> usize {
        let mut at = 0;
        loop {
            let node = &self.nodes[at];
            let widens = node.visits > node.expansions.pow(2) * batch;
            if node.expansions == 0 || widens {
                return at;
            }
            let log = (node.visits as f64).ln();
            let score = |child: &usize| {
                let child = &self.nodes[*child];
                child.value() + exploration * (log / child.visits as f64).sqrt()
            };
            let open = node.children.iter().filter(|child| !self.nodes[**child].is_end);
            let best = open.fold(None, |best: Option<(usize, f64)>, child| {
                match (best, score(child)) {
                    (Some((_, most)), score) if score <= most => best,
                    (_, score) => Some((*child, score)),
                }
            });
            match best {
                Some((child, _)) => at = child,
                None => return at,
            }
        }
    }

    /// Notes that a node is expanded.
    pub fn expand(&mut self, at: usize) {
        self.nodes[at].expansions += 1;
    }

    /// The child that a step leads to: the one that is there, or a new one.
    pub fn child(&mut self, parent: usize, step: S, is_end: bool) -> usize {
        let there = self.nodes[parent].children.iter().copied();
        let mut same = there.filter(|child| self.nodes[*child].step.as_ref() == Some(&step));
        if let Some(child) = same.next() {
            return child;
        }
        let child = self.nodes.len();
        self.nodes.push(Node {
            step: Some(step),
            parent,
            depth: self.nodes[parent].depth + 1,
            is_end,
            expansions: 0,
            visits: 0,
            total: 0.0,
            children: Vec::new(),
        });
        self.nodes[parent].children.push(child);
        child
    }

    /// Backs a reward up from a node to the root.
    pub fn back_up(&mut self, mut at: usize, reward: f64) {
        loop {
            let node = &mut self.nodes[at];
            node.visits += 1;
            node.total += reward;
            if at == 0 {
                return;
            }
            at = node.parent;
        }
    }

    /// The steps from the root to a node.
    pub fn path(&self, mut at: usize) -> Vec<&S> {
        let mut path = Vec::new();
        while let Some(step) = &self.nodes[at].step {
            path.push(step);
            at = self.nodes[at].parent;
        }
        path.reverse();
        path
    }
}

impl<S: PartialEq> Default for Tree<S> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const DEPTH: usize = 4;

    /// A step of the toy: right with probability `RIGHT`, else one of a few wrong ones. The only good path is all right.
    const RIGHT: f64 = 0.2;

    fn draw(rng: &mut ChaCha8Rng) -> u8 {
        match rng.random::<f64>() < RIGHT {
            true => 0,
            false => 1 + u8::from(rng.random::<f64>() < 0.1),
        }
    }

    /// Expansions, and sampled steps, until the good path is found.
    fn search(seed: u64, width: usize) -> (usize, usize) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut tree = Tree::<u8>::new();
        let mut steps = 0;
        for expansions in 1.. {
            let at = tree.select(1.4, width);
            tree.expand(at);
            let before: Vec<u8> = tree.path(at).into_iter().copied().collect();
            for _ in 0..width {
                let mut path = before.clone();
                path.push(draw(&mut rng));
                steps += 1;
                let child = tree.child(at, path[path.len() - 1], path.len() == DEPTH);
                while path.len() < DEPTH {
                    path.push(draw(&mut rng));
                    steps += 1;
                }
                let is_good = path.iter().all(|step| *step == 0);
                tree.back_up(child, f64::from(u8::from(is_good)));
                if is_good {
                    return (expansions, steps);
                }
            }
        }
        unreachable!("it ends when it is found")
    }

    /// Completions, and sampled steps, until the good path is drawn.
    fn sampling(seed: u64) -> (usize, usize) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut drawn = (1..).filter(|_| (0..DEPTH).filter(|_| draw(&mut rng) == 0).count() == DEPTH);
        let completions = drawn.next().unwrap();
        (completions, completions * DEPTH)
    }

    fn mean(of: impl Fn(u64) -> (usize, usize)) -> (f64, f64) {
        const RUNS: u64 = 200;
        let (mut a, mut b) = (0, 0);
        for seed in 0..RUNS {
            let (x, y) = of(seed);
            (a, b) = (a + x, b + y);
        }
        (a as f64 / RUNS as f64, b as f64 / RUNS as f64)
    }

    /// One path in 625 is good. The search does not take a branch as often as the policy would, so it needs fewer expansions
    /// than sampling needs completions, and fewer steps in all.
    #[test]
    fn one_good_path_is_found_with_less_than_sampling_needs() {
        let (expansions, steps) = mean(|seed| search(seed, 4));
        let (completions, sampled) = mean(sampling);
        assert!((completions - 625.0).abs() < 125.0, "{completions}");
        assert!(
            expansions < 0.15 * completions,
            "{expansions} against {completions}"
        );
        assert!(steps < 0.6 * sampled, "{steps} against {sampled}");
        assert_eq!(search(7, 4), search(7, 4));
    }

    #[test]
    fn values_are_means_of_what_is_below() {
        let mut tree = Tree::new();
        tree.expand(0);
        let [a, b] = ['a', 'b'].map(|step| tree.child(0, step, false));
        assert_eq!(tree.child(0, 'a', false), a);
        let c = tree.child(a, 'c', true);
        for (at, reward) in [(a, 0.0), (c, 1.0), (b, 0.5)] {
            tree.back_up(at, reward);
        }
        let values: Vec<f64> = tree.nodes().iter().map(Node::value).collect();
        assert_eq!(values, [0.5, 0.5, 0.5, 1.0]);
        assert_eq!((tree.nodes()[c].depth, tree.path(c)), (2, vec![&'a', &'c']));
    }

    #[test]
    fn what_is_better_or_seldom_tried_is_selected_and_ends_are_not() {
        let mut tree = Tree::new();
        assert_eq!(tree.select(1.4, 2), 0);
        tree.expand(0);
        let [a, b] = ['a', 'b'].map(|step| tree.child(0, step, false));
        tree.back_up(a, 1.0);
        tree.back_up(b, 0.0);
        assert_eq!(tree.select(1.4, 2), a);
        // Widened when its visits have outgrown the steps sampled below it.
        tree.back_up(a, 1.0);
        assert_eq!(tree.select(1.4, 2), 0);
        tree.expand(0);
        // Without exploration the better one, with much of it the other.
        assert_eq!((tree.select(0.0, 2), tree.select(100.0, 2)), (a, b));
        // Nothing follows an end: what has only these is widened.
        let mut tree = Tree::new();
        tree.expand(0);
        let end = tree.child(0, 'x', true);
        tree.back_up(end, 1.0);
        assert_eq!(tree.select(1.4, 2), 0);
    }
}
