"""Models over files of any size: in bounded memory, by several processes, and on from where a job was stopped."""
