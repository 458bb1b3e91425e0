module example.com/serin/bucket

go 1.19
