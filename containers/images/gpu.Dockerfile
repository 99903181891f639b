# to be written
FROM scratch
