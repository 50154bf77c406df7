module learnae/tools/hornet

go 1.25

require github.com/gohornet/hornet v0.5.6
