"""Records and the files that they name -> an RO-Crate with the profile of Process Run Crate. Pure.

contents     what a crate holds: its runs, its files, and what is not in it
entities     the entities of the graph, each once, and their ids
people       authors, institution, licence
software     the image, and the program that ran in it
machine      the node of a task with its driver and GPUs; what the run used
run          one run of a job as a CreateAction
graph        all of it as the text of ro-crate-metadata.json
reproducing  REPRODUCING.md
checksums    SHA256SUMS

Nothing is stated that a record does not hold. Sources: w3id.org/ro/crate/1.1, w3id.org/ro/crate/1.3,
w3id.org/ro/wfrun/process/0.5 and 0.6.
"""
