//go:build !linux

package main

func mountSmall(string, int64) error { return errNoDisk }

func unmountSmall(string) error { return errNoDisk }

func takeAllBut(string, int64) error { return errNoDisk }
