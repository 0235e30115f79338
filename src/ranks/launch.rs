//! Whether this process was started alone, or with others by `mpirun` or `srun`: what these say in the environment.

use std::env;

/// How this process was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// What started it, for people.
    pub by: &'static str,
    /// Its number, from 0.
    pub rank: usize,
    /// How many were started.
    pub size: usize,
    /// Its number among those on its machine.
    pub local_rank: Option<usize>,
}

/// A launcher, and the variables that it sets: number, count, number on the machine.
const LAUNCHERS: [(&str, [&str; 3]); 3] = [
    (
        "mpirun",
        [
            "OMPI_COMM_WORLD_RANK",
            "OMPI_COMM_WORLD_SIZE",
            "OMPI_COMM_WORLD_LOCAL_RANK",
        ],
    ),
    // MPICH and what comes of it.
    ("mpirun", ["PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"]),
    // Not SLURM_NTASKS, which a batch script has as well, where one process is started by no srun.
    ("srun", ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"]),
];

impl Launch {
    /// Started by nobody but the user.
    pub fn alone() -> Self {
        Self {
            by: "nothing",
            rank: 0,
            size: 1,
            local_rank: None,
        }
    }

    /// What the environment says.
    pub fn of_environment() -> Self {
        Self::of(|name| env::var(name).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let number = |name: &str| variable(name)?.trim().parse::<usize>().ok();
        for (by, [rank, size, local_rank]) in LAUNCHERS {
            if let (Some(rank), Some(size)) = (number(rank), number(size))
                && size > 1
                && rank < size
            {
                // By `srun --mpi=pmi2`, which speaks as MPICH's own launcher does; where that one has srun start its helpers, these are others.
                let of_slurm = [number("SLURM_PROCID"), number("SLURM_STEP_NUM_TASKS")];
                let by = if of_slurm == [Some(rank), Some(size)] {
                    "srun"
                } else {
                    by
                };
                return Self {
                    by,
                    rank,
                    size,
                    local_rank: number(local_rank),
                };
            }
        }
        Self::alone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(set: &[(&str, &str)]) -> Launch {
        Launch::of(|name| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn launchers_are_known_by_what_they_set() {
        let ompi = of(&[
            ("OMPI_COMM_WORLD_RANK", "5"),
            ("OMPI_COMM_WORLD_SIZE", "8"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
        ]);
        assert_eq!(
            (ompi.by, ompi.rank, ompi.size, ompi.local_rank),
            ("mpirun", 5, 8, Some(1))
        );
        let mpich = of(&[("PMI_RANK", "1"), ("PMI_SIZE", "2")]);
        assert_eq!((mpich.rank, mpich.size, mpich.local_rank), (1, 2, None));
        let slurm = [
            ("SLURM_PROCID", "3"),
            ("SLURM_STEP_NUM_TASKS", "4"),
            ("SLURM_LOCALID", "3"),
        ];
        assert_eq!((of(&slurm).by, of(&slurm).rank), ("srun", 3));
        let pmi2 = [&slurm[..], &[("PMI_RANK", "3"), ("PMI_SIZE", "4")]].concat();
        assert_eq!((of(&pmi2).by, of(&pmi2).rank), ("srun", 3));
        // MPICH's launcher within Slurm: one helper a machine.
        let helped = [&slurm[..], &[("PMI_RANK", "9"), ("PMI_SIZE", "16")]].concat();
        assert_eq!((of(&helped).by, of(&helped).size), ("mpirun", 16));
    }

    #[test]
    fn whoever_is_alone_or_in_a_batch_script_is_alone() {
        assert_eq!(of(&[]), Launch::alone());
        assert_eq!(
            of(&[("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "1")]),
            Launch::alone()
        );
        assert_eq!(
            of(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")]),
            Launch::alone()
        );
    }
}
