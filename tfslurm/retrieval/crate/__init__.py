"""Write an RO-Crate: the files of run folders, brought and verified, with the records and their metadata.

gather     the files of run folders and code, brought into a folder here
nameless   a second folder, without what says who ran it
places     where each run lies in a crate
sweep      what a sweep adds to a crate
finishing  the whole crate gets its name, as a folder or a zip archive
writing    all of it: a folder or an archive that is there whole, or not at all
"""
