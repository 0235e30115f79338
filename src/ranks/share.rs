//! Who gets which work: the largest first, each to the rank that has least. The same work is always dealt out alike.

/// The rank that each item goes to, of `ranks`. `costs` are what the items take, in any unit, and `loads` what each rank has already;
/// they are added to.
pub fn deal(costs: &[u64], loads: &mut [u64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..costs.len()).collect();
    // Items of one cost stay in their order.
    order.sort_by_key(|&at| std::cmp::Reverse(costs[at]));
    let mut owners = vec![0; costs.len()];
    for at in order {
        let (rank, load) = loads
            .iter_mut()
            .enumerate()
            .min_by_key(|(_, load)| **load)
            .expect("there is a rank");
        // What costs nothing is shared out as well.
        *load += costs[at].max(1);
        owners[at] = rank;
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_are_dealt_first_and_loads_are_even() {
        let mut loads = [0, 0];
        assert_eq!(deal(&[3, 9, 4, 2], &mut loads), [1, 0, 1, 1]);
        assert_eq!(loads, [9, 9]);
        assert_eq!(deal(&[5, 5, 5, 5], &mut [0, 0]), [0, 1, 0, 1]);
        assert_eq!(deal(&[0, 0, 0], &mut [0, 0, 0]), [0, 1, 2]);
        assert_eq!(deal(&[1, 1], &mut [5, 0]), [1, 1]);
        assert!(deal(&[], &mut [0]).is_empty());
    }
}
